//! The thread that writes audit lines: in batches, never losing one that it took.

// It is no task of the runtime: it may wait.
#![allow(clippy::disallowed_methods)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Common;
use super::queue::Lines;

/// While statements come, the writer sleeps this long between batches, so that they do not wake it one by one.
const BATCH: Duration = Duration::from_millis(20);
/// It goes on at once when so many bytes were waiting.
const PLENTY: usize = 1 << 20;
/// Between two attempts while lines cannot be written.
const RETRY: Duration = Duration::from_millis(200);
/// At the end of the process, how long a failing disk is given.
const LAST_CHANCE: Duration = Duration::from_secs(3);

/// Where lines go.
pub(super) enum Output {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Output {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        Ok(Self::File { path: path.to_path_buf(), file })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()?;
                Ok(bytes.len())
            }
            Self::File { file, .. } => file.write(bytes),
        }
    }
}

pub(super) struct Writer {
    output: Output,
    common: Arc<Common>,
    /// Lines taken and not yet written, and how much of them is.
    taken: Lines,
    written: usize,
}

impl Writer {
    pub(super) fn new(output: Output, common: Arc<Common>) -> Self {
        Self { output, common, taken: Lines::default(), written: 0 }
    }

    pub(super) fn run(mut self) {
        let mut quiet = 0;
        loop {
            // Only an idle writer waits where a sender must wake it.
            if quiet >= 3 {
                self.taken = Lines::default();
                self.common.queue.sleep();
                quiet = 0;
            }
            let stop = self.common.queue.take(&mut self.taken);
            let size = self.taken.text.len();
            quiet = if size == 0 { quiet + 1 } else { 0 };
            self.flush();
            while !self.taken.text.is_empty() {
                if stop || self.common.queue.is_stopped() {
                    break;
                }
                std::thread::sleep(RETRY);
                self.flush();
            }
            if stop || !self.taken.text.is_empty() {
                return self.end();
            }
            // More may come: gather it without being woken for each.
            if size < PLENTY {
                std::thread::sleep(BATCH);
            }
        }
    }

    /// Writes what was taken. On an error the rest stays, to be continued where it broke off.
    fn flush(&mut self) {
        if self.common.reopen.swap(false, Ordering::Relaxed) {
            self.reopen();
        }
        while let Some(rest) = self.taken.text.as_bytes().get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.output.write(rest) {
                Ok(0) => return self.failed(&io::Error::from(io::ErrorKind::WriteZero)),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.failed(&error),
            }
        }
        self.written = 0;
        self.taken.text.clear();
        self.taken.text.shrink_to(PLENTY);
        self.common.metrics.audit_lines.add(std::mem::take(&mut self.taken.count));
        if !self.common.healthy.swap(true, Ordering::Relaxed) {
            tracing::info!("audit lines can be written again");
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.common.metrics.audit_failures.increment();
        if self.common.healthy.swap(false, Ordering::Relaxed) {
            tracing::error!(
                "audit lines cannot be written ({error}); they are kept and tried again, and statements that reach labelled columns are refused meanwhile"
            );
        }
        // The file may have been moved away, or its disk mounted anew.
        self.reopen();
    }

    fn reopen(&mut self) {
        // In the middle of a line the old file keeps the line whole.
        let inside = self.written > 0 && self.taken.text.as_bytes().get(self.written - 1) != Some(&b'\n');
        if let Output::File { path, file } = &mut self.output
            && !inside
        {
            match Output::open(path) {
                Ok(Output::File { file: fresh, .. }) => *file = fresh,
                Ok(Output::Stdout) => {}
                Err(error) => tracing::error!("cannot open the audit log {} again: {error}", path.display()),
            }
        }
    }

    /// Writes what is left, the lines that came meanwhile with it.
    fn end(mut self) {
        let until = Instant::now() + LAST_CHANCE;
        loop {
            self.flush();
            if self.taken.text.is_empty() {
                self.common.queue.take(&mut self.taken);
                if self.taken.text.is_empty() {
                    break;
                }
            } else if Instant::now() < until {
                std::thread::sleep(RETRY);
            } else {
                let lines = self.taken.count + self.common.queue.len();
                tracing::error!(lines, "audit lines could not be written before the end");
                break;
            }
        }
        if let Output::File { file, .. } = &self.output {
            let _ = file.sync_data();
        }
    }
}
