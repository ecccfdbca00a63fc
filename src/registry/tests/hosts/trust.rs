//! Whom a `certs.d` trusts.

use super::*;

/// Asks a server with TLS as `registry.test`, whose folder holds `files`.
pub(super) async fn trust(
    tls: tokio_rustls::TlsAcceptor,
    files: &[(&str, &str)],
) -> Result<(), &'static str> {
    let server = Server::start_with(Some(tls), manifest).await;
    // The port is the test's; the name is the certificate's.
    let root = format!("server = 'https://{NAME}:{}'\n", server.address().port());
    let files: Vec<(&str, String)> = files
        .iter()
        .map(|(name, text)| match *name {
            "hosts.toml" => (*name, format!("{root}{text}")),
            _ => (*name, (*text).to_owned()),
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let world = World::new(&files, &[(NAME, &server)]);
    world.outcome().await.map(drop).map_err(|(_, label)| label)
}

#[tokio::test]
async fn a_private_authority_is_trusted_for_its_registry() {
    let (ours, other) = (Authority::new(), Authority::new());
    let tls = || ours.server(NAME, 2999);
    let pem = ours.pem.as_str();
    assert_eq!(trust(tls(), &[("hosts.toml", "")]).await, Err("tls"));
    let file = ("hosts.toml", "ca = 'ca.pem'");
    assert_eq!(trust(tls(), &[file, ("ca.pem", pem)]).await, Ok(()));
    assert_eq!(
        trust(tls(), &[file, ("ca.pem", &other.pem)]).await,
        Err("tls")
    );
    let both = ("hosts.toml", "ca = ['other.pem', 'ca.pem']");
    let others = ("other.pem", other.pem.as_str());
    assert_eq!(trust(tls(), &[both, ("ca.pem", pem), others]).await, Ok(()));
    // A name that is not its own stays one.
    let wrong = ours.server("other.test", 2999);
    assert_eq!(trust(wrong, &[file, ("ca.pem", pem)]).await, Err("tls"));
}

#[tokio::test]
async fn what_is_of_no_use_beside_it_takes_no_trust_from_an_authority() {
    let ours = Authority::new();
    let tls = || ours.server(NAME, 2999);
    let file = ("hosts.toml", "ca = 'ca.pem'");
    let useless = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
    let bundle = format!("{useless}{}{useless}", ours.pem);
    assert_eq!(trust(tls(), &[file, ("ca.pem", &bundle)]).await, Ok(()));
    let nothing = trust(tls(), &[file, ("ca.pem", useless)]).await;
    assert_eq!(nothing, Err("hosts_file"));
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_its_own_authority() {
    let own = OwnRoot::new(NAME, 2999);
    let pem = own.pem();
    for (files, expected) in [
        (&[("hosts.toml", "")][..], Err("tls")),
        (
            &[("hosts.toml", "ca = 'domain.crt'"), ("domain.crt", &pem)],
            Ok(()),
        ),
    ] {
        assert_eq!(trust(own.server(), files).await, expected, "{files:?}");
    }
}

#[tokio::test]
async fn nobody_is_verified_where_that_is_written() {
    let ours = Authority::new();
    for (name, year) in [(NAME, 2999), ("other.test", 2999), (NAME, 2001)] {
        let tls = || ours.server(name, year);
        let file = ("hosts.toml", "skip_verify = true");
        assert_eq!(trust(tls(), &[file]).await, Ok(()), "{name} {year}");
        let file = ("hosts.toml", "skip_verify = false");
        assert_eq!(trust(tls(), &[file]).await, Err("tls"), "{name} {year}");
    }
}

#[tokio::test]
async fn trust_in_one_registry_is_no_trust_in_another() {
    let ours = Authority::new();
    let server = Server::start_with(Some(ours.server(NAME, 2999)), manifest).await;
    let world = World::new(&[], &[(NAME, &server)]);
    let port = server.address().port();
    let server = format!("server = 'https://{NAME}:{port}'\n");
    world
        .dir
        .write("a.test/hosts.toml", server.clone() + "skip_verify = true");
    world.dir.write("b.test/hosts.toml", server);
    world.ask("a.test/app").await.unwrap();
    assert_eq!(world.ask("b.test/app").await.unwrap_err().label(), "tls");
}

#[tokio::test]
async fn a_registry_on_this_machine_has_tls_where_that_is_written() {
    let ours = Authority::new();
    let server = Server::start_with(Some(ours.server("localhost", 2999)), manifest).await;
    let image = format!("localhost:{}/app", server.address().port());
    let world = World::new(&[], &[]);
    assert_eq!(world.ask(&image).await.unwrap_err().label(), "unreachable");
    let world = World::new(&[], &[]);
    let folder = image.trim_end_matches("/app").replace(':', "_") + "_";
    world
        .dir
        .write(&format!("{folder}/hosts.toml"), "skip_verify = true");
    world.ask(&image).await.unwrap();
}
