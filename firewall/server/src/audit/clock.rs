//! Wall time for lines, from the monotonic time that the relay reads anyway.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// How long one look at the wall clock serves: if somebody sets that clock, lines show it this much later at most.
const TRUSTED: Duration = Duration::from_millis(100);

/// RFC 3339 in UTC with microseconds; the calendar is worked out once a second.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The two clocks, read at one moment.
    anchor: Option<(Instant, SystemTime)>,
    second: Option<u64>,
    text: String,
}

impl Clock {
    pub(super) fn write(&mut self, out: &mut String, now: Instant) {
        let time = self.wall(now);
        self.write_time(out, time);
    }

    fn wall(&mut self, now: Instant) -> SystemTime {
        if let Some((then, time)) = self.anchor
            && let Some(since) = now.checked_duration_since(then)
            && since < TRUSTED
        {
            return time + since;
        }
        let (then, time) = (Instant::now(), SystemTime::now());
        self.anchor = Some((then, time));
        // `now` was read a moment ago.
        time.checked_sub(then.saturating_duration_since(now)).unwrap_or(time)
    }

    pub(super) fn write_time(&mut self, out: &mut String, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            let stamp = i64::try_from(since.as_secs()).ok().and_then(|s| Timestamp::from_second(s).ok());
            self.text = stamp.unwrap_or_default().to_string();
            self.text.pop(); // Z
            self.text.push('.');
        }
        out.push_str(&self.text);
        let micros = since.subsec_micros();
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(micros);
        out.push_str("000000".get(digits.len()..).unwrap_or_default());
        out.push_str(digits);
        out.push('Z');
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_those_of_the_wall_clock() {
        let mut clock = Clock::default();
        for wait in [0, 30, 60, 60] {
            #[allow(clippy::disallowed_methods)] // a test may wait
            std::thread::sleep(Duration::from_millis(wait));
            let (now, time) = (Instant::now(), SystemTime::now());
            let shown = clock.wall(now);
            let apart = shown.duration_since(time).or_else(|_| time.duration_since(shown)).unwrap();
            assert!(apart < Duration::from_millis(20), "{apart:?}");
        }
        // A message that was read before the anchor was set.
        let earlier = Instant::now();
        let mut clock = Clock::default();
        let (late, early) = (clock.wall(Instant::now()), clock.wall(earlier));
        assert!(early <= late);
    }

    #[test]
    fn six_digits_behind_the_second() {
        let mut out = String::new();
        let mut clock = Clock::default();
        clock.write_time(&mut out, UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042));
        clock.write_time(&mut out, UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456));
        assert_eq!(out, "2023-11-14T22:13:20.000042Z2023-11-14T22:13:20.123456Z");
    }
}
