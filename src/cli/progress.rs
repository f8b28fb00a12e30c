//! A bar on the terminal for work that takes a while.

use super::standard::Standard;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, IsTerminal, Write},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long work may take before it shows a bar.
const PATIENCE: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);

/// Shows on standard error how much of a document was read, where that is a
/// terminal and the work is not over at once.
pub(super) struct Progress {
    bar: ProgressBar,
    /// Shows the bar in time, also while the reader waits for input; dropping the
    /// sender ends it.
    timer: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins; `length` is that of the document, where it is known. There is no bar
    /// where a person types the document: it would wipe the line.
    pub(super) fn new(length: Option<u64>, typed: bool) -> Self {
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        if typed || !io::stderr().is_terminal() {
            return Self { bar, timer: None };
        }
        let template = match length {
            Some(_) => "{bar:30} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left",
            None => "{spinner} {bytes}, {binary_bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let (sender, ended) = mpsc::channel();
        let shown = bar.clone();
        let show = move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    shown.tick();
                }
            }
        };
        // Without a thread there is no bar, which is no reason to fail.
        let thread = thread::Builder::new().spawn(show).ok();
        Self { bar, timer: thread.map(|thread| (sender, thread)) }
    }

    /// So many more bytes were read.
    pub(super) fn advance(&self, bytes: usize) {
        if self.timer.is_some() {
            self.bar.inc(bytes as u64);
        }
    }

    /// So many bytes were read in all.
    pub(super) fn reached(&self, bytes: u64) {
        if self.timer.is_some() {
            self.bar.set_position(bytes);
        }
    }

    /// A writer for results. Where they go to a terminal too, the bar steps aside.
    pub(super) fn beside(&self, to: Standard) -> impl Write + use<> {
        let both = self.timer.is_some() && to.is_terminal();
        Beside { bar: both.then(|| self.bar.clone()), to }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.timer.take() {
            drop(sender);
            // A bar that could not be drawn is no reason to fail.
            let _ = thread.join();
            self.bar.finish_and_clear();
        }
    }
}

struct Beside {
    to: Standard,
    bar: Option<ProgressBar>,
}

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.to.write(bytes)),
            None => self.to.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
