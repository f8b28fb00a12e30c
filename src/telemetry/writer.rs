//! Log lines that never make a request wait.
//!
//! Lines are gathered in a buffer of bounded size and written by a thread of its own.
//! When whoever reads the log is too slow, lines are dropped and counted.

use prometheus::IntCounter;
use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// How much may wait to be written.
const CAPACITY: usize = 1 << 20;
/// How long a line may wait for others to be written with it: a system call and a
/// wake-up for each line would cost more than all the rest of it.
const GATHER: Duration = Duration::from_millis(10);

/// Takes whole lines, from any thread, without waiting.
#[derive(Clone)]
pub struct LineWriter(Arc<Shared>);

struct Shared {
    buffer: Mutex<Buffer>,
    changed: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct Buffer {
    waiting: Vec<u8>,
    /// Whether the thread has taken lines that it has not written yet.
    writing: bool,
    /// Whether someone waits for all to be written.
    flushing: bool,
}

impl LineWriter {
    /// Starts the thread that writes to `to`; what it cannot write is counted.
    pub fn start(to: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            buffer: Mutex::new(Buffer::default()),
            changed: Condvar::new(),
            dropped,
        });
        let writer = Self(Arc::clone(&shared));
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all(to))?;
        Ok(writer)
    }

    /// Waits until all lines so far are written, but no longer than `patience`.
    pub fn flush_within(&self, patience: Duration) {
        let mut buffer = self.0.lock();
        buffer.flushing = true;
        self.0.changed.notify_all();
        let busy = |buffer: &mut Buffer| buffer.writing || !buffer.waiting.is_empty();
        let waited = self.0.changed.wait_timeout_while(buffer, patience, busy);
        waited.unwrap_or_else(PoisonError::into_inner).0.flushing = false;
    }
}

impl Write for LineWriter {
    /// Takes a line whole or drops it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut buffer = self.0.lock();
        if buffer.waiting.len() + line.len() > CAPACITY {
            self.0.dropped.inc();
            return Ok(line.len());
        }
        let was_idle = buffer.waiting.is_empty() && !buffer.writing;
        buffer.waiting.extend_from_slice(line);
        drop(buffer);
        if was_idle {
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut to: impl Write) {
        let mut lines = Vec::new();
        loop {
            self.take(&mut lines);
            if to.write_all(&lines).and_then(|()| to.flush()).is_err() {
                // Nobody reads them; the service goes on.
                let count = lines.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.inc_by(count as u64);
            }
            lines.clear();
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for lines and takes them, with those that come right after.
    fn take(&self, lines: &mut Vec<u8>) {
        let none = |buffer: &mut Buffer| buffer.waiting.is_empty();
        let waited = self.changed.wait_while(self.lock(), none);
        let buffer = waited.unwrap_or_else(PoisonError::into_inner);
        let gather = |buffer: &mut Buffer| !buffer.flushing;
        let gathered = self.changed.wait_timeout_while(buffer, GATHER, gather);
        let (mut buffer, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        buffer.writing = true;
        std::mem::swap(&mut buffer.waiting, lines);
    }
}
