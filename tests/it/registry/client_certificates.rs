//! A docker-registry that lets in only clients with a certificate by one authority.

use std::{fs, net::SocketAddr, path::Path};

use podrefresh::registry::{HostsDir, LookupError, Network, Settings};
use testbed::images::{Format, Image};
use tokio::process::Command;

use crate::support::{
    authority::Authority,
    docker_registry::{DockerRegistry, Protection},
    folder::Folder,
    oci::Oci,
    resolver::{ask, check_refused, lookup, resolver},
    skip::{need, program},
};

const NAME: &str = "registry.test";

/// A registry, the authority of its clients, and a `certs.d` for it.
struct World {
    registry: DockerRegistry,
    clients: Authority,
    image: Image,
    registries: Folder,
    /// The registry that it is a mirror of: nobody else could push to it.
    _origin: DockerRegistry,
}

impl World {
    /// Starts the registry; `None` where this machine has none.
    async fn start() -> Option<Self> {
        let origin = need(DockerRegistry::anonymous().await)?;
        let image = Format::Oci.multi_platform("1");
        Oci::new(&origin, None).push("team/app", "1", &image).await;
        let (ours, clients) = (Authority::new(), Authority::new());
        let protection = Protection {
            tls: Some((&ours, &[NAME])),
            clients: Some(&clients),
            mirror_of: Some(&origin),
            ..Protection::default()
        };
        let registry = need(DockerRegistry::start(protection).await)?;
        let registries = Folder::new();
        fs::create_dir(registries.path().join(NAME)).unwrap();
        let world = Self {
            registry,
            clients,
            image,
            registries,
            _origin: origin,
        };
        world.write("ca.pem", &ours.pem());
        Some(world)
    }

    /// Returns the registry's folder in the `certs.d`.
    fn folder(&self) -> std::path::PathBuf {
        self.registries.path().join(NAME)
    }

    fn write(&self, name: &str, content: &str) {
        self.registries.write(&format!("{NAME}/{name}"), content);
    }

    /// Looks an image up with these client certificates.
    async fn digest(&self, client: &str) -> Result<String, LookupError> {
        let port = self.registry.port();
        let server = format!("server = 'https://{NAME}:{port}'");
        let text = format!("{server}\nca = 'ca.pem'\nclient = {client}\n");
        self.write("hosts.toml", &text);
        let address: SocketAddr = self.registry.host().parse().unwrap();
        let settings = Settings {
            network: Network {
                extra_roots: Vec::new(),
                addresses: vec![(NAME.to_owned(), address)],
            },
            hosts: Some(HostsDir::open(self.registries.path()).unwrap()),
            ..Settings::default()
        };
        let lookup = lookup(&format!("{NAME}/team/app:1"), "shop", &[]);
        ask(&resolver(settings, None), &lookup).await
    }

    async fn check(&self, client: &str) {
        let digest = self.digest(client).await;
        assert_eq!(digest.unwrap(), self.image.digest(), "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_client_certificates_the_registrys_is_shown_and_no_others() {
    let Some(world) = World::start().await else {
        return;
    };
    let (certificate, key) = Authority::new().client();
    world.write("other.crt", &certificate);
    world.write("other.key", &key);
    let (certificate, key) = world.clients.client();
    world.write("right.pem", &(certificate + &key));
    world.check("'right.pem'").await;
    world
        .check("[['other.crt', 'other.key'], 'right.pem']")
        .await;
    for client in ["[['other.crt', 'other.key']]", "[]"] {
        let refused = world.digest(client).await;
        let words = "it asked for a client certificate and was shown none";
        check_refused(refused, "tls", &[&NAME, &words]);
    }
}

/// Runs openssl in `folder`.
async fn openssl(folder: &Path, arguments: &str) {
    let program = program("openssl").unwrap();
    let output = Command::new(program)
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "openssl {arguments}: {output:?}");
}

/// How openssl makes the keys that Go takes, and how they begin.
const KEYS: [(&str, &str); 6] = [
    ("genrsa -traditional -out c.key 2048", "RSA PRIVATE KEY"),
    ("genrsa -out c.key 2048", "PRIVATE KEY"),
    (
        "ecparam -genkey -name prime256v1 -out c.key",
        "EC PARAMETERS",
    ),
    (
        "ecparam -genkey -name secp384r1 -noout -out c.key",
        "EC PRIVATE KEY",
    ),
    (
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out c.key",
        "PRIVATE KEY",
    ),
    ("genpkey -algorithm ED25519 -out c.key", "PRIVATE KEY"),
];

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_certificates_work_as_openssl_makes_them() {
    let Some(world) = World::start().await else {
        return;
    };
    if need(program("openssl")).is_none() {
        return;
    }
    let folder = world.folder();
    world.write("clients.crt", &world.clients.pem());
    world.write("clients.key", &world.clients.key_pem());
    for (make, begin) in KEYS {
        openssl(&folder, make).await;
        let key = fs::read_to_string(folder.join("c.key")).unwrap();
        assert!(
            key.starts_with(&format!("-----BEGIN {begin}-----")),
            "{make}"
        );
        openssl(&folder, "req -new -key c.key -subj /CN=puller -out c.csr").await;
        // Without extensions it has version 1.
        let sign = "x509 -req -in c.csr -CA clients.crt -CAkey clients.key -out c.crt";
        openssl(&folder, sign).await;
        world.check("[['c.crt', 'c.key']]").await;
    }
    openssl(&folder, "genrsa -out c.key 2048").await;
    for encrypt in [
        "pkcs8 -topk8 -v2 aes-256-cbc -passout pass:secret -in c.key -out d.key",
        "rsa -traditional -aes256 -passout pass:secret -in c.key -out d.key",
    ] {
        openssl(&folder, encrypt).await;
        let refused = world.digest("[['c.crt', 'd.key']]").await;
        let words = "d.key has a certificate or key that is of no use: its key is encrypted";
        check_refused(refused, "hosts_file", &[&NAME, &words]);
    }
}
