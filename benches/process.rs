//! What the kernel says of a thread or a process.

use std::{fs, path::PathBuf, time::Duration};

/// A thread's clock of CPU time.
pub(crate) struct Clock(PathBuf);

impl Clock {
    /// Returns the clock of the thread that calls.
    pub(crate) fn of_this_thread() -> Self {
        let thread = fs::read_link("/proc/thread-self").unwrap();
        Self(PathBuf::from("/proc").join(thread).join("schedstat"))
    }

    /// Returns the time on a CPU so far, in user and kernel mode. The kernel brings it up to date at least every few ms.
    pub(crate) fn read(&self) -> Duration {
        let text = fs::read_to_string(&self.0).unwrap();
        let nanoseconds = text.split(' ').next().unwrap();
        Duration::from_nanos(nanoseconds.parse().unwrap())
    }
}

/// Returns the time that all threads of a process have been on a CPU so far.
pub(crate) fn cpu(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let clocks = threads.map(|thread| Clock(thread.unwrap().path().join("schedstat")));
    clocks.map(|clock| clock.read()).sum()
}

/// Returns the most memory in bytes that a process has had resident so far; `None` when it has ended.
pub(crate) fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib = line.trim().trim_end_matches(" kB");
    Some(kib.parse::<u64>().ok()? * 1024)
}

/// Returns a process' resident memory in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}
