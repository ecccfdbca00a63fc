//! A registry's folder of `certs.d`: its `hosts.toml` and the certificates that this names.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use reqwest::header::HeaderMap;
use url::Url;

use super::{
    file::{NotHosts, Written, parse},
    useless::Useless,
};
use crate::registry::{
    client_certificate::{ClientCertificate, NotClient},
    pem,
    tls::Tls,
};

/// No file here is larger than the ConfigMap or Secret it commonly comes from.
const MAX_BYTES: u64 = 1 << 20;

/// One address at which tags may be looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::registry) struct Address {
    /// The root of the API, with a slash at its end; `None` for the registry's own.
    pub(in crate::registry) root: Option<Url>,
    pub(in crate::registry) headers: HeaderMap,
    pub(in crate::registry) tls: Tls,
}

/// What a registry's folder says.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The addresses that resolve tags, in order.
    pub(super) addresses: Vec<Address>,
    /// Bundles that are used but in part.
    pub(super) useless: Vec<Useless>,
}

/// Why a registry's folder is of no use.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HostsFault {
    /// The folder or a file in it cannot be read.
    #[error("{path} could not be read")]
    Unreadable {
        /// Its path.
        path: Box<str>,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The `hosts.toml` is none.
    #[error("{path} is of no use")]
    Malformed {
        /// Its path.
        path: Box<str>,
        /// Where it goes wrong.
        source: NotHosts,
    },
    /// A certificate or key that it names is none.
    #[error("{path} has a certificate or key that is of no use")]
    Certificate {
        /// The path of the file, or of the folder.
        path: Box<str>,
        /// Why.
        source: Arc<io::Error>,
    },
}

impl HostsFault {
    /// Returns the stable, documented name of the fault.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "hosts_unreadable",
            Self::Malformed { .. } => "hosts_malformed",
            Self::Certificate { .. } => "hosts_certificate",
        }
    }

    /// Returns that there is something wrong with certificates at `path`.
    pub(super) fn certificate(path: &Path, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Certificate {
            path: path.display().to_string().into(),
            source: Arc::new(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    fn unreadable(path: &Path, error: io::Error) -> Self {
        Self::Unreadable {
            path: path.display().to_string().into(),
            source: Arc::new(error),
        }
    }
}

/// Returns the folder for `registry` below `root`, by containerd's spellings, if there is one.
pub(super) fn folder(root: &Path, registry: &str) -> Result<Option<PathBuf>, HostsFault> {
    // Pods name the registry. No name of a host leads out of here, but paths would.
    if registry.starts_with('.') || registry.contains('/') {
        return Ok(None);
    }
    let with_port = registry.rsplit_once(':');
    let with_port = with_port.map(|(host, port)| format!("{host}_{port}_"));
    for name in with_port
        .as_deref()
        .into_iter()
        .chain([registry, "_default"])
    {
        let path = root.join(name);
        match fs::metadata(&path) {
            Ok(_) => return Ok(Some(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(HostsFault::unreadable(&path, error)),
        }
    }
    Ok(None)
}

/// Reads `folder`.
pub(super) fn load(folder: &Path) -> Result<Loaded, HostsFault> {
    let path = folder.join("hosts.toml");
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(HostsFault::unreadable(&path, error)),
    };
    let written = if text.is_empty() {
        let written = certificates(folder);
        vec![written.map_err(|error| HostsFault::unreadable(folder, error))?]
    } else {
        // What is no UTF-8 is no TOML either, and told with its line.
        parse(&String::from_utf8_lossy(&text)).map_err(|source| HostsFault::Malformed {
            path: path.display().to_string().into(),
            source,
        })?
    };
    let resolving = written.into_iter().filter(|written| written.resolves);
    let mut useless = Vec::new();
    let addresses = resolving.map(|written| address(written, folder, &mut useless));
    Ok(Loaded {
        addresses: addresses.collect::<Result<_, _>>()?,
        useless,
    })
}

/// Returns what docker's layout of such a folder says: authorities in `.crt`, clients in `.cert` and `.key`.
fn certificates(folder: &Path) -> io::Result<Written> {
    let mut written = Written {
        resolves: true,
        ..Written::default()
    };
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut paths = paths.collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths.into_iter().filter(|path| path.is_file()) {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => written.authorities.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                let key = if key.exists() { key } else { path.clone() };
                written.clients.push((path, key));
            }
            _ => {}
        }
    }
    Ok(written)
}

fn address(
    written: Written,
    folder: &Path,
    useless: &mut Vec<Useless>,
) -> Result<Address, HostsFault> {
    let mut authorities = Vec::new();
    for path in &written.authorities {
        // An absolute path stays what it is.
        let bundle = folder.join(path);
        let found = pem::authorities(&get(&bundle)?);
        let found = found.map_err(|error| HostsFault::certificate(&bundle, error))?;
        authorities.extend(found.certificates);
        let count = found.useless;
        if count > 0 {
            useless.push(Useless { bundle, count });
        }
    }
    let clients = written.clients.iter();
    let clients =
        clients.map(|(certificate, key)| client(&folder.join(certificate), &folder.join(key)));
    let tls = Tls {
        authorities,
        clients: clients.collect::<Result<_, _>>()?,
        skip_verify: written.skip_verify,
        dial_timeout: written.dial_timeout,
    };
    Ok(Address {
        root: written.root,
        headers: written.headers,
        tls,
    })
}

/// Reads a client certificate. Only its own file is searched for the certificate, and only the key's for the key.
fn client(certificate: &Path, key: &Path) -> Result<ClientCertificate, HostsFault> {
    let chain = pem::certificates(&get(certificate)?);
    let chain = chain.map_err(|error| HostsFault::certificate(certificate, error))?;
    let private = pem::key(&get(key)?).map_err(|error| HostsFault::certificate(key, error))?;
    ClientCertificate::new(certificate, chain, &private).map_err(|error| match error {
        NotClient::Certificate => HostsFault::certificate(certificate, error),
        NotClient::Key(_) | NotClient::Mismatch(_) => HostsFault::certificate(key, error),
    })
}

fn get(path: &Path) -> Result<Vec<u8>, HostsFault> {
    read(path).map_err(|error| HostsFault::unreadable(path, error))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;

    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        let text = format!("it is larger than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}
