//! A certificate from files that someone else rotates: cert-manager, a CSI driver, an administrator.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use futures::StreamExt;
use rustls::{pki_types::UnixTime, sign::CertifiedKey};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{
    api::TlsError,
    chain,
    configuration::Configuration,
    serving::{Live, Serving},
    unwatched::is_forbidden,
};
use crate::error::Chain;

/// How often the files are read. Reading sees every kind of replacement, file events do not.
const REREAD: Duration = Duration::from_secs(10);

/// The two files, as they were read.
#[derive(PartialEq, Eq)]
struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// A folder with `tls.crt` and `tls.key`.
pub(super) struct Folder {
    path: PathBuf,
    serving: Serving,
    configuration: Configuration,
    /// What is served.
    files: Files,
    /// What will be, once the caBundle is that of its authority.
    held_back: Option<Files>,
    /// What was wrong with them when they were last read, in words.
    fault: Option<String>,
}

impl Folder {
    /// Reads the first certificate, and serves it.
    pub(super) async fn start(
        path: PathBuf,
        configuration: Configuration,
        serving: Serving,
    ) -> Result<Self, TlsError> {
        let files = read(&path).await?;
        let folder = Self {
            path,
            serving,
            configuration,
            files,
            held_back: None,
            fault: None,
        };
        folder.serving.serve(folder.usable(&folder.files)?);
        Ok(folder)
    }

    /// Returns what `files` are to rustls, if they belong together.
    fn usable(&self, files: &Files) -> Result<CertifiedKey, TlsError> {
        chain::certified_key(&files.chain, &files.key).map_err(|source| TlsError::Unusable {
            place: self.path.display().to_string(),
            source,
        })
    }

    /// Follows the files, and the webhook configuration for readiness, until the process ends.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(REREAD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut webhooks = pin!(self.configuration.follow());
        loop {
            tokio::select! {
                _ = ticks.tick() => self.reread().await,
                seen = webhooks.next() => match seen {
                    Some(Ok(webhooks)) => {
                        self.configuration.note(webhooks.as_ref());
                        // A certificate may have waited for this caBundle.
                        self.reread().await;
                    }
                    // Whoever brings the certificate may keep the webhook configuration to themselves, too.
                    Some(Err(error)) if is_forbidden(&error) => self.serving.observe(Live::Hidden),
                    Some(Err(_)) => {}
                    None => return,
                },
            }
        }
    }

    /// Takes new files up. Files that do not belong together are half of a replacement: the next time they will.
    ///
    /// Whoever rotates the files writes the caBundle as well, sooner or later than the files reach us. While the API
    /// server trusts what is served and not yet what is new, the new one waits.
    async fn reread(&mut self) {
        let new = match read(&self.path).await {
            Ok(files) if files == self.files => {
                self.held_back = None;
                self.note(None);
                return;
            }
            Ok(files) => self.usable(&files).map(|key| (files, key)),
            Err(error) => Err(error),
        };
        let (files, key) = match new {
            Ok(new) => new,
            Err(error) => {
                if self.note(Some(Chain(&error).to_string())) {
                    warn!(
                        error = %Chain(&error),
                        "Kept the old serving certificate: {}", Chain(&error)
                    );
                }
                return;
            }
        };
        self.note(None);
        let (now, place) = (UnixTime::now(), self.path.display());
        match self.serving.check_chain(&key.cert, now) {
            Err(untrusted) if self.serving.check(now).is_ok() => {
                if self.held_back.as_ref() != Some(&files) {
                    warn!(
                        error = %Chain(&untrusted),
                        "Kept the old serving certificate until the API server trusts the new one in {place}: {}",
                        Chain(&untrusted)
                    );
                    self.held_back = Some(files);
                }
            }
            _ => {
                self.serving.serve(key);
                self.files = files;
                self.held_back = None;
                info!("Serving a new certificate from {place}");
            }
        }
    }
}

impl Folder {
    /// Takes note of what is wrong with the files, if anything; returns whether that is news.
    fn note(&mut self, fault: Option<String>) -> bool {
        let is_news = fault.is_some() && fault != self.fault;
        self.fault = fault;
        is_news
    }
}

async fn read(folder: &Path) -> Result<Files, TlsError> {
    let file = async |name: &str| {
        let path = folder.join(name);
        tokio::fs::read(&path)
            .await
            .map_err(|source| TlsError::File {
                path: path.display().to_string(),
                source,
            })
    };
    Ok(Files {
        chain: file("tls.crt").await?,
        key: file("tls.key").await?,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::{
        observe::metrics::Metrics,
        tls::{
            inject::Service,
            material::{Material, Names},
        },
    };

    /// A volume as the kubelet mounts a Secret: files that are links through `..data`, which is replaced as one.
    struct Volume(PathBuf);

    impl Volume {
        fn new(test: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("podrefresh-{}-{test}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            for file in ["tls.crt", "tls.key"] {
                symlink(Path::new("..data").join(file), path.join(file)).unwrap();
            }
            Self(path)
        }

        fn put(&self, version: &str, chain: &str, key: &str) {
            let data = self.0.join(version);
            fs::create_dir(&data).unwrap();
            fs::write(data.join("tls.crt"), chain).unwrap();
            fs::write(data.join("tls.key"), key).unwrap();
            let link = self.0.join("..data_tmp");
            symlink(version, &link).unwrap();
            fs::rename(link, self.0.join("..data")).unwrap();
        }
    }

    impl Drop for Volume {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn material() -> Material {
        let names = Names::of("podrefresh", "podrefresh").unwrap();
        Material::renewed(None, &names, UnixTime::now()).unwrap()
    }

    async fn start(volume: &Volume) -> Result<Folder, TlsError> {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let names = Names::of("podrefresh", "podrefresh").unwrap();
        let serving = Serving::new(names.verified, Metrics::new());
        let service = Service {
            namespace: "podrefresh".to_owned(),
            name: "podrefresh".to_owned(),
        };
        let client = nowhere.try_into().unwrap();
        let name = "podrefresh".to_owned();
        let configuration = Configuration::new(client, name, service, serving.clone());
        Folder::start(volume.0.clone(), configuration, serving).await
    }

    #[track_caller]
    fn check_served(folder: &Folder, expected: &Material) {
        let chain = chain::certificates(expected.chain.as_bytes()).unwrap();
        assert_eq!(folder.serving.certificate(), Some(chain));
    }

    #[tokio::test]
    async fn files_are_followed_through_the_kubelets_links() {
        let volume = Volume::new("follow");
        let (old, new) = (material(), material());
        volume.put("v1", &old.chain, &old.key);
        let mut folder = start(&volume).await.unwrap();
        check_served(&folder, &old);
        folder.reread().await;
        check_served(&folder, &old);
        volume.put("v2", &new.chain, &new.key);
        folder.reread().await;
        check_served(&folder, &new);
    }

    #[tokio::test]
    async fn half_of_a_replacement_is_not_served() {
        let volume = Volume::new("half");
        let (old, new) = (material(), material());
        volume.put("v1", &old.chain, &old.key);
        let mut folder = start(&volume).await.unwrap();
        for (version, chain, key) in [
            ("v2", &new.chain, &old.key),
            ("v3", &new.chain, &String::new()),
            ("v4", &"garbage".to_owned(), &new.key),
        ] {
            volume.put(version, chain, key);
            folder.reread().await;
            check_served(&folder, &old);
        }
        fs::remove_file(volume.0.join("tls.key")).unwrap();
        folder.reread().await;
        check_served(&folder, &old);
        symlink("..data/tls.key", volume.0.join("tls.key")).unwrap();
        volume.put("v5", &new.chain, &new.key);
        folder.reread().await;
        check_served(&folder, &new);
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_once_for_as_long_as_it_is_the_same() {
        let volume = Volume::new("once");
        let (old, new) = (material(), material());
        volume.put("v1", &old.chain, &old.key);
        let mut folder = start(&volume).await.unwrap();
        volume.put("v2", &new.chain, &old.key);
        folder.reread().await;
        let fault = folder.fault.clone();
        assert!(fault.is_some());
        assert!(!folder.note(fault.clone()));
        assert!(folder.note(Some("another".to_owned())));
        // Files that are good, be they the old or the new ones, end it.
        for (version, material) in [("v3", &old), ("v4", &new)] {
            volume.put(version, &material.chain, &material.key);
            folder.reread().await;
            check_served(&folder, material);
            assert_eq!(folder.fault, None, "{version}");
            assert!(folder.note(fault.clone()));
        }
    }

    #[tokio::test]
    async fn a_certificate_waits_for_a_ca_bundle_that_comes_later() {
        let volume = Volume::new("later");
        let (old, new, other) = (material(), material(), material());
        volume.put("v1", &old.chain, &old.key);
        let mut folder = start(&volume).await.unwrap();
        let trust = |folder: &Folder, trusted: &[&Material]| {
            let roots = |m: &&Material| chain::certificates(m.authorities.as_bytes()).unwrap();
            let roots = trusted.iter().flat_map(roots).collect();
            folder.serving.observe(Live::Webhooks(vec![roots]));
        };
        trust(&folder, &[&old]);
        volume.put("v2", &new.chain, &new.key);
        folder.reread().await;
        check_served(&folder, &old);
        trust(&folder, &[&new, &old]);
        folder.reread().await;
        check_served(&folder, &new);
        // One that is not trusted either is no worse than one that is not trusted.
        trust(&folder, &[&old]);
        volume.put("v3", &other.chain, &other.key);
        folder.reread().await;
        check_served(&folder, &other);
    }

    #[tokio::test]
    async fn a_start_without_the_files_names_the_one_that_is_missing() {
        let volume = Volume::new("missing");
        let said = async || start(&volume).await.err().unwrap().to_string();
        let file = volume.0.join("tls.crt").display().to_string();
        assert_eq!(said().await, format!("cannot read {file}"));
        let material = material();
        volume.put("v1", &material.chain, "garbage");
        let expected = format!("cannot serve the certificate in {}", volume.0.display());
        assert_eq!(said().await, expected);
    }
}
