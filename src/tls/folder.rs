//! A certificate from files that someone else rotates: cert-manager, a CSI driver, an administrator.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use futures::StreamExt;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{
    api::TlsError,
    chain,
    configuration::{Configuration, is_forbidden},
    serving::{Live, Serving},
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
    files: Files,
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
        };
        folder.serve()?;
        Ok(folder)
    }

    fn serve(&self) -> Result<(), TlsError> {
        let key = chain::certified_key(&self.files.chain, &self.files.key);
        self.serving.serve(key.map_err(|source| TlsError::Unusable {
            place: self.path.display().to_string(),
            source,
        })?);
        Ok(())
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
                    Some(Ok(webhooks)) => self.configuration.note(webhooks.as_ref()),
                    // Whoever brings the certificate may keep the webhook configuration to themselves, too.
                    Some(Err(error)) if is_forbidden(&error) => self.serving.observe(Live::Hidden),
                    Some(Err(error)) => {
                        warn!(error = %Chain(&error), "Could not follow the webhook configuration: {}", Chain(&error));
                    }
                    None => return,
                },
            }
        }
    }

    /// Takes new files up. Files that do not belong together are half of a replacement: the next time they will.
    async fn reread(&mut self) {
        let result = match read(&self.path).await {
            Ok(files) if files == self.files => return,
            Ok(files) => {
                let old = std::mem::replace(&mut self.files, files);
                self.serve().inspect_err(|_| self.files = old)
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => info!("Serving a new certificate from {}", self.path.display()),
            Err(error) => warn!(
                error = %Chain(&error),
                "Kept the old serving certificate: {}", Chain(&error)
            ),
        }
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

    use rustls::pki_types::UnixTime;

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
