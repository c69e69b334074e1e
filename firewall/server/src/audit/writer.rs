//! The thread that writes audit lines: in batches, never losing one that it took.

// It is no task of the runtime: it may wait.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::line::{self, Clock, NameSource, Names};
use super::{Common, Item, Who, lock};

/// While statements come, the writer sleeps this long between batches, so that they do not wake it one by one.
const BATCH: Duration = Duration::from_millis(20);
/// Lines go out once there are so many bytes, however many more are waiting.
const CHUNK: usize = 256 << 10;
/// Between two attempts while lines cannot be written.
const RETRY: Duration = Duration::from_millis(200);
/// Lines kept in memory while they cannot be written; beyond it events wait in the queue.
const BACKLOG: usize = 16 << 20;
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
    items: Receiver<Item>,
    output: Output,
    common: Arc<Common>,
    names: Arc<dyn NameSource>,
    clock: Clock,
    known_names: HashMap<u64, Names>,
    /// Lines not yet written, and how much of them is.
    pending: String,
    written: usize,
    lines: u64,
}

impl Writer {
    pub(super) fn new(items: Receiver<Item>, output: Output, common: Arc<Common>, names: Arc<dyn NameSource>) -> Self {
        Self {
            items,
            output,
            common,
            names,
            clock: Clock::default(),
            known_names: HashMap::new(),
            pending: String::new(),
            written: 0,
            lines: 0,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let stop = if self.pending.is_empty() {
                // Only an idle writer waits where a sender must wake it.
                match self.items.recv() {
                    Ok(item) => self.take(item) || self.drain(),
                    Err(_) => true,
                }
            } else {
                // The last attempt failed.
                std::thread::sleep(RETRY);
                self.drain()
            };
            self.flush();
            if stop {
                return self.end();
            }
            // More may come: gather it without being woken for each.
            let mut quiet = 0;
            while quiet < 3 && self.pending.is_empty() {
                std::thread::sleep(BATCH);
                quiet += 1;
                loop {
                    let stop = self.drain();
                    if self.lines > 0 {
                        quiet = 0;
                    }
                    let more = self.pending.len() >= CHUNK;
                    self.flush();
                    if stop {
                        return self.end();
                    }
                    if !more || !self.pending.is_empty() {
                        break;
                    }
                }
            }
        }
    }

    /// Takes what is queued, up to a chunk, or to the backlog while nothing can be written; true if it was told to stop.
    fn drain(&mut self) -> bool {
        let limit = if self.common.healthy.load(Ordering::Relaxed) { CHUNK } else { BACKLOG };
        while self.pending.len() < limit {
            match self.items.try_recv() {
                Ok(item) => {
                    if self.take(item) {
                        return true;
                    }
                }
                Err(_) => return false,
            }
        }
        false
    }

    fn take(&mut self, item: Item) -> bool {
        let (out, clock) = (&mut self.pending, &mut self.clock);
        match item {
            Item::Statement { time, connection, pid, event } => {
                let who = who(&self.common, connection);
                let names = match &event.plan {
                    Some(plan) => {
                        if !self.known_names.contains_key(&plan.world)
                            && let Some(names) = self.names.names(plan.world)
                        {
                            // Worlds come and go; what is asked again is found again.
                            if self.known_names.len() >= 16 {
                                self.known_names.clear();
                            }
                            self.known_names.insert(plan.world, names);
                        }
                        self.known_names.get(&plan.world).cloned()
                    }
                    None if event.handled.is_empty() => None,
                    None => self.names.newest(&who.database),
                };
                line::statement(out, clock, time, &who.prefix, pid, &event, names.as_ref());
            }
            Item::Opened { time, connection } => {
                let who = who(&self.common, connection);
                line::connection(out, clock, time, "connected", &who.prefix, None);
            }
            Item::Closed { time, connection, reason } => {
                let who = who(&self.common, connection);
                line::connection(out, clock, time, "disconnected", &who.prefix, Some(reason));
                lock(&self.common.connections).remove(&connection);
            }
            Item::LoginFailed { time, login, address, reason } => {
                line::login_failed(out, clock, time, &login, address, reason);
            }
            Item::Admin { time, action, client, kids } => line::admin(out, clock, time, action, &client, &kids),
            Item::Stop => return true,
        }
        self.lines += 1;
        false
    }

    /// Writes what is pending. On an error the rest stays, to be continued where it broke off.
    fn flush(&mut self) {
        if self.common.reopen.swap(false, Ordering::Relaxed) {
            self.reopen();
        }
        let before = self.lines;
        while let Some(rest) = self.pending.as_bytes().get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.output.write(rest) {
                Ok(0) => return self.failed(&io::Error::from(io::ErrorKind::WriteZero)),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.failed(&error),
            }
        }
        if self.written > 0 {
            self.written = 0;
            self.pending.clear();
            self.pending.shrink_to(1 << 20);
        }
        self.common.metrics.audit_lines.add(before);
        self.lines = 0;
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
        let inside = self.written > 0 && self.pending.as_bytes().get(self.written - 1) != Some(&b'\n');
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

    fn end(mut self) {
        let until = Instant::now() + LAST_CHANCE;
        self.flush();
        while !self.pending.is_empty() && Instant::now() < until {
            std::thread::sleep(RETRY);
            self.flush();
        }
        if !self.pending.is_empty() {
            tracing::error!(lines = self.lines, "audit lines could not be written before the end");
        }
        if let Output::File { file, .. } = &self.output {
            let _ = file.sync_data();
        }
    }
}

fn who(common: &Common, connection: u32) -> Arc<Who> {
    lock(&common.connections)
        .get(&connection)
        .cloned()
        .unwrap_or_else(|| Arc::new(Who { prefix: format!(",\"connection\":{connection}"), database: Arc::from("") }))
}
