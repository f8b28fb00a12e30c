//! Files that the operator names and that are read again while the service runs: small,
//! regular, and on a disk that may hold up whoever reads.

use rustix::fs::OFlags;
use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};
use tokio::{
    sync::Mutex,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};
use zeroize::Zeroizing;

/// What is in a file of at most so many bytes. It may be a secret.
///
/// A file that is none of the disk's is not waited for: nobody may ever write into a pipe.
pub fn read(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    // It does not grow while it is filled, which would leave copies behind.
    let room = about.len().min(most) as usize + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    file.take(most + 1).read_to_end(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {} KiB", most / 1024)));
    }
    Ok(text)
}

/// Does what a disk may hold up, one piece of work at a time, without waiting for ever: what
/// hangs has one thread and not one for each time that it is tried.
pub struct Patient<T> {
    patience: Duration,
    /// What was begun and has not ended in time.
    hanging: Mutex<Option<JoinHandle<T>>>,
}

/// How long a disk may take.
const PATIENCE: Duration = Duration::from_secs(2);

impl<T> Default for Patient<T> {
    fn default() -> Self {
        Self { patience: PATIENCE, hanging: Mutex::default() }
    }
}

impl<T: Send + 'static> Patient<T> {
    /// Does a piece of work where it holds up nothing else. It fails where there is no end of
    /// it, or of one that was begun before.
    pub async fn run(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let mut hanging = self.hanging.lock().await;
        let too_slow = |_| io::Error::other("it does not come from the disk");
        if let Some(begun) = hanging.as_mut() {
            timeout(self.patience, begun).await.map_err(too_slow)?.ok();
        }
        // What came of that was asked for earlier, and may be otherwise by now.
        let begun = hanging.insert(spawn_blocking(work));
        let done = timeout(self.patience, begun).await.map_err(too_slow)?;
        *hanging = None;
        Ok(done?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::{
        fs,
        os::unix::fs::symlink,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
            mpsc,
        },
    };

    #[test]
    fn a_file_is_regular_small_and_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "text").unwrap();
        fs::write(at("most"), [b'x'; 1024]).unwrap();
        fs::write(at("more"), [b'x'; 1025]).unwrap();
        symlink("file", at("link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let check = |path: &Path, expected: Result<usize, &str>| {
            let found = read(path, 1024).map_err(|error| error.to_string());
            match (&found, expected) {
                (Ok(text), Ok(length)) => assert_eq!(text.len(), length, "{path:?}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{path:?}: {error}"),
                _ => panic!("{path:?}: {found:?}"),
            }
        };
        check(&at("file"), Ok(4));
        check(&at("link"), Ok(4));
        check(&at("most"), Ok(1024));
        check(&at("more"), Err("larger than 1 KiB"));
        check(&at("loop"), Err("symbolic link"));
        check(&at("none"), Err("No such file"));
        check(&at("pipe"), Err("not a regular file"));
        check(folder.path(), Err("not a regular file"));
        check(Path::new("/dev/zero"), Err("not a regular file"));
    }

    #[tokio::test]
    async fn what_hangs_is_not_begun_again_and_what_came_of_it_is_not_believed() {
        let patient = Patient { patience: Duration::from_millis(20), hanging: Mutex::default() };
        let (lets_go, held) = mpsc::channel::<()>();
        let begun = Arc::new(AtomicUsize::new(0));
        let counts = |answer: &'static str| {
            let begun = Arc::clone(&begun);
            move || {
                begun.fetch_add(1, Relaxed);
                answer
            }
        };
        let hangs = move || {
            held.recv().unwrap();
            "old"
        };
        assert!(patient.run(hangs).await.is_err());
        assert!(patient.run(counts("lost")).await.is_err());
        assert_eq!(begun.load(Relaxed), 0);

        lets_go.send(()).unwrap();

        let comes = async {
            loop {
                if let Ok(answer) = patient.run(counts("new")).await {
                    return answer;
                }
            }
        };
        assert_eq!(comes.await, "new");
    }
}
