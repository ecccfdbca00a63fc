//! Foreign bytes in, nothing out: each function panics where the product does not hold what it promises.
//!
//! libFuzzer calls them with bytes of its own making (`make fuzz`), the test below with the seeds (`make test`).

mod credentials;
mod notify;
mod policy;
mod registry;
mod review;

pub use credentials::docker_config;
pub use notify::notification;
pub use policy::{image, window, wishes};
pub use registry::{challenge, hosts};
pub use review::review;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Replays the files of a folder below the repository's root.
    #[track_caller]
    fn check(target: fn(&[u8]), folder: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(folder);
        let mut seeds = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let seed = fs::read(&path).unwrap();
            let passed = std::panic::catch_unwind(|| target(&seed));
            assert!(passed.is_ok(), "{} must pass", path.display());
            seeds += 1;
        }
        assert!(2 < seeds, "{} must hold seeds", folder.display());
    }

    #[test]
    fn seeds_pass() {
        check(super::challenge, "fuzz/seeds/challenge");
        check(super::docker_config, "fuzz/seeds/docker_config");
        check(super::hosts, "fuzz/seeds/hosts");
        check(super::image, "fuzz/seeds/image");
        check(super::notification, "fuzz/seeds/notification");
        check(super::notification, "tests/data/notify");
        check(super::review, "tests/data/admission");
        check(super::review, "fuzz/seeds/review");
        check(super::window, "fuzz/seeds/window");
        check(super::wishes, "fuzz/seeds/wishes");
    }
}
