//! Standard input and output as plain descriptors.
//!
//! Without the buffers that the standard library keeps for them, which nobody wipes;
//! and willing to wait where another process that shares the pipe or the terminal has
//! made it non-blocking.

use rustix::event::{PollFd, PollFlags, poll};
use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    os::fd::AsFd,
};

/// Standard input, output or error.
pub(super) struct Standard(File);

impl Standard {
    pub(super) fn input() -> io::Result<Self> {
        Ok(Self(io::stdin().as_fd().try_clone_to_owned()?.into()))
    }

    pub(super) fn output() -> io::Result<Self> {
        Ok(Self(io::stdout().as_fd().try_clone_to_owned()?.into()))
    }

    pub(super) fn error() -> io::Result<Self> {
        Ok(Self(io::stderr().as_fd().try_clone_to_owned()?.into()))
    }

    /// Whether a person is at the other end.
    pub(super) fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }

    /// Tries until it does not block.
    fn wait<T>(
        &mut self,
        readiness: PollFlags,
        mut work: impl FnMut(&mut File) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match work(&mut self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.0, readiness)], None)?;
                }
                done => return done,
            }
        }
    }
}

impl Read for Standard {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::IN, |file| file.read(bytes))
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::OUT, |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
