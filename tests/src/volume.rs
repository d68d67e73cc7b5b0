//! A file system of its own that can become full, read-only or failing. Needs root, loop devices and `mkfs.ext4`.
//!
//! A *failing* one lies on a memory file system that has less room than it promises: its free space looks fine, and what does
//! not fit comes back as an error of fsync, as from a disk that breaks.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted file system; unmounted when it is dropped.
#[derive(Debug)]
pub struct Volume {
    folder: TempDir,
}

impl Volume {
    /// One of so many MiB.
    pub fn new(mib: u64) -> Self {
        Self::made(mib, None)
    }

    /// One of so many MiB, of which only `real_mib` are there.
    pub fn failing(mib: u64, real_mib: u64) -> Self {
        Self::made(mib, Some(real_mib))
    }

    fn made(mib: u64, real_mib: Option<u64>) -> Self {
        let volume = Self { folder: tempfile::tempdir().unwrap() };
        for place in [volume.backing(), volume.path()] {
            std::fs::create_dir(place).unwrap();
        }
        if let Some(real) = real_mib {
            let backing = volume.backing();
            run("mount", &["-t", "tmpfs", "-o", &format!("size={real}m"), "none", shown(&backing)]);
        }
        let image = volume.image();
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        run(
            "mkfs.ext4",
            &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", shown(&image)],
        );
        volume.mount();
        volume
    }

    fn backing(&self) -> PathBuf {
        self.folder.path().join("backing")
    }

    fn image(&self) -> PathBuf {
        self.backing().join("image")
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn mount(&self) {
        run("mount", &["-o", "loop", shown(&self.image()), shown(&self.path())]);
    }

    /// From now on it is read-only, as after an error of the disk.
    pub fn break_off(&self) {
        // What is mounted read-only this way is what ext4 does by itself when its journal cannot be written.
        run("mount", &["-o", "remount,abort", shown(&self.path())]);
    }

    /// Checked, repaired, and with `real_mib` really there: as after a change of the disk. Nobody may use it meanwhile.
    pub fn repair(&self, real_mib: Option<u64>) {
        run("umount", &[shown(&self.path())]);
        if let Some(real) = real_mib {
            run("mount", &["-o", &format!("remount,size={real}m"), shown(&self.backing())]);
        }
        // 1: errors were corrected.
        let checked = Command::new("e2fsck").args(["-f", "-y", shown(&self.image())]).output().unwrap();
        assert!(checked.status.code().is_some_and(|code| code <= 1), "{checked:?}");
        self.mount();
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut filler = std::fs::File::create(self.path().join("filler")).unwrap();
        let block = vec![0x5a; 1 << 16];
        while std::io::Write::write_all(&mut filler, &block).is_ok() {}
        let _ = filler.sync_all();
    }

    /// Gives back what [`fill`](Self::fill) took.
    pub fn empty(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        for place in [self.path(), self.backing()] {
            // The second is mounted for failing ones only; whoever was killed may still be going.
            let _ = Command::new("umount").arg("-l").arg(place).output();
        }
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let ran = Command::new(program).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}
