//! How much memory this process may still take: what the machine has free, or less where a container or a limit
//! of the process says so.
//!
//! Where memory runs out the system often ends a process without a word, so a run compares beforehand.
use std::fs;
use std::path::Path;

/// Bytes that this process may still take; `None` where the system does not say.
pub(crate) fn available() -> Option<u64> {
    [machine(), container(), process()].into_iter().flatten().min()
}

/// What the machine has free, caches that it would give up included.
fn machine() -> Option<u64> {
    of_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// What the control group of a container leaves, in either version.
fn container() -> Option<u64> {
    let group = Path::new("/sys/fs/cgroup");
    of_group(group, "memory.max", "memory.current")
        .or_else(|| of_group(&group.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"))
}

/// `None` where there is no limit, which is the word "max".
fn of_group(folder: &Path, limit: &str, used: &str) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    Some(number(limit)?.saturating_sub(number(used)?))
}

/// What the process's own limit (`ulimit -v`) leaves.
#[cfg(target_os = "linux")]
fn process() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes the struct alone.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) } == 0;
    if !known || limit.rlim_cur == libc::RLIM_INFINITY {
        return None;
    }
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    let kibibytes: u64 = size.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(limit.rlim_cur.saturating_sub(kibibytes * 1024))
}

#[cfg(not(target_os = "linux"))]
fn process() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_files_are_read() {
        let text = "MemTotal:       24689764 kB\nMemFree:        17196104 kB\nMemAvailable:   22552016 kB\n";
        assert_eq!(of_meminfo(text), Some(22_552_016 * 1024));
        assert_eq!(of_meminfo("MemTotal: 1 kB\n"), None);
        let folder = tempfile::tempdir().unwrap();
        let of = |limit: &str, used: &str| {
            fs::write(folder.path().join("memory.max"), limit).unwrap();
            fs::write(folder.path().join("memory.current"), used).unwrap();
            of_group(folder.path(), "memory.max", "memory.current")
        };
        assert_eq!(of("1000\n", "400\n"), Some(600));
        assert_eq!(of("1000\n", "1400\n"), Some(0));
        assert_eq!(of("max\n", "400\n"), None);
        assert_eq!(of_group(folder.path(), "no", "file"), None);
    }
}
