//! Which client certificates of a `certs.d` are shown, and which are of no use.

use super::{trust::trust, *};

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let (certificate, key) = clients.sign("puller", 2999);
    let tls = || ours.server_for(NAME, 2999, Some(&clients));
    let ca = ("ca.pem", ours.pem.as_str());
    let (crt, pem) = (certificate.pem(), key.serialize_pem());
    let files = [ca, ("c.crt", &crt), ("c.key", &pem)];
    let file = ("hosts.toml", "ca = 'ca.pem'\nclient = [['c.crt', 'c.key']]");
    assert_eq!(trust(tls(), &[&files[..], &[file]].concat()).await, Ok(()));
    let both = crt.clone() + &pem;
    let file = ("hosts.toml", "ca = 'ca.pem'\nclient = 'both.pem'");
    assert_eq!(trust(tls(), &[ca, file, ("both.pem", &both)]).await, Ok(()));
    let file = ("hosts.toml", "ca = 'ca.pem'");
    assert_eq!(trust(tls(), &[ca, file]).await, Err("tls"));
}

#[tokio::test]
async fn of_several_client_certificates_the_one_that_is_accepted_is_shown() {
    let ours = Authority::new();
    let clients = [Authority::new(), Authority::new(), Authority::new()];
    let pem = |authority: &Authority| {
        let (certificate, key) = authority.sign("puller", 2999);
        (certificate.pem(), key.serialize_pem())
    };
    let [a, b] = [pem(&clients[0]), pem(&clients[1])];
    let both = b.0.clone() + &b.1;
    let files = [
        ("ca.pem", ours.pem.as_str()),
        ("a.crt", &a.0),
        ("a.key", &a.1),
        ("b.pem", &both),
    ];
    for (client, accepted) in [
        ("[['a.crt', 'a.key'], 'b.pem']", [true, true, false]),
        ("['b.pem', ['a.crt', 'a.key']]", [true, true, false]),
        ("[['a.crt', 'a.key']]", [true, false, false]),
        ("'b.pem'", [false, true, false]),
        ("[]", [false; 3]),
    ] {
        let text = format!("ca = 'ca.pem'\nclient = {client}");
        let files = [&files[..], &[("hosts.toml", &text)]].concat();
        for (index, accepted) in accepted.into_iter().enumerate() {
            let tls = ours.server_for(NAME, 2999, Some(&clients[index]));
            let expected = if accepted { Ok(()) } else { Err("tls") };
            let outcome = trust(tls, &files).await;
            assert_eq!(outcome, expected, "{client} {index}");
        }
        // Who asks for none gets none.
        assert_eq!(trust(ours.server(NAME, 2999), &files).await, Ok(()));
    }
}

#[tokio::test]
async fn a_changed_client_certificate_is_shown_once_it_is_whole() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let tls = ours.server_for(NAME, 2999, Some(&clients));
    let server = Server::start_with(Some(tls), manifest).await;
    let file = format!(
        "server = 'https://{NAME}:{}'\nca = 'ca.pem'\nclient = [['c.crt', 'c.key']]",
        server.address().port()
    );
    let (old, old_key) = Authority::new().sign("puller", 2999);
    let (new, new_key) = clients.sign("puller", 2999);
    let files = [
        ("hosts.toml", file.as_str()),
        ("ca.pem", &ours.pem),
        ("c.crt", &old.pem()),
        ("c.key", &old_key.serialize_pem()),
    ];
    let world = World::new(&files, &[(NAME, &server)]);
    assert!(world.outcome().await.is_err());
    world.dir.write(&format!("{NAME}/c.crt"), new.pem());
    pass().await;
    assert!(world.outcome().await.is_err());
    assert_eq!(world.problems("hosts_certificate"), 1);
    world
        .dir
        .write(&format!("{NAME}/c.key"), new_key.serialize_pem());
    pass().await;
    world.outcome().await.unwrap();
    assert_eq!(world.problems("hosts_certificate"), 1);
}

/// Asks a server that lets in `clients` only, showing `client`; returns the fault's text.
async fn refusal(clients: &Authority, client: Option<(&str, &str)>) -> String {
    let ours = Authority::new();
    let tls = ours.server_for(NAME, 2999, Some(clients));
    let server = Server::start_with(Some(tls), manifest).await;
    let root = format!("server = 'https://{NAME}:{}'", server.address().port());
    let mut text = format!("{root}\nca = 'ca.pem'\n");
    let mut files = vec![("ca.pem", ours.pem.as_str())];
    if let Some((crt, key)) = client {
        text += "client = [['c.crt', 'c.key']]";
        files.extend([("c.crt", crt), ("c.key", key)]);
    }
    files.push(("hosts.toml", &text));
    let world = World::new(&files, &[(NAME, &server)]);
    let error = world.ask(&format!("{NAME}/app")).await.unwrap_err();
    let shown = crate::error::Chain(&error).to_string();
    assert!(["tls", "unreachable"].contains(&error.label()), "{shown}");
    shown
}

#[tokio::test]
async fn what_a_host_was_shown_that_hung_up_is_told() {
    let clients = Authority::new();
    let pem = |authority: &Authority, year| {
        let (certificate, key) = authority.sign("puller", year);
        (certificate.pem(), key.serialize_pem())
    };
    let none = "it asked for a client certificate and was shown none";
    let text = refusal(&clients, None).await;
    assert!(text.contains(none), "{text}");
    let (crt, key) = pem(&Authority::new(), 2999);
    let text = refusal(&clients, Some((&crt, &key))).await;
    assert!(text.contains(none), "{text}");
    let (crt, key) = pem(&clients, 2001);
    let text = refusal(&clients, Some((&crt, &key))).await;
    let words = format!("/{NAME}/c.crt");
    assert!(text.contains("and was shown /"), "{text}");
    assert!(text.contains(&words), "{text}");
}

#[tokio::test]
async fn whom_we_do_not_trust_is_told_so_whatever_it_asked_for() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let tls = ours.server_for(NAME, 2999, Some(&clients));
    let server = Server::start_with(Some(tls), manifest).await;
    let world = World::new(&[], &[(NAME, &server)]);
    let image = format!("{NAME}:{}/app", server.address().port());
    let error = world.ask(&image).await.unwrap_err();
    let text = crate::error::Chain(&error).to_string();
    assert_eq!(error.label(), "tls");
    assert!(text.contains("UnknownIssuer"), "{text}");
    assert!(!text.contains("client certificate"), "{text}");
}

/// Checks that a folder with `c.crt`, `c.key` and this `client` is told to be of no use by these words.
async fn check_unusable(crt: &str, key: &str, client: &str, label: &'static str, words: &[&str]) {
    let text = format!("client = {client}");
    let files = [
        ("hosts.toml", text.as_str()),
        ("c.crt", crt),
        ("c.key", key),
    ];
    let world = World::new(&files, &[]);
    let error = world.ask(&format!("{NAME}/app")).await.unwrap_err();
    let shown = crate::error::Chain(&error).to_string();
    assert_eq!(error.label(), "hosts_file", "{shown}");
    assert_eq!(world.problems(label), 1, "{shown}");
    for word in words {
        assert!(shown.contains(word), "{shown:?} lacks {word}");
    }
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[tokio::test]
async fn an_unusable_client_certificate_is_told_with_its_file() {
    let authority = Authority::new();
    let [(crt, key), (_, other)] = [(); 2].map(|()| {
        let (certificate, key) = authority.sign("puller", 2999);
        (certificate.pem(), key.serialize_pem())
    });
    let pair = "[['c.crt', 'c.key']]";
    let (crt_file, key_file) = (format!("{NAME}/c.crt"), format!("{NAME}/c.key"));
    let (crt_file, key_file) = (crt_file.as_str(), key_file.as_str());
    let of_no_use = "hosts_certificate";
    let not_its = [key_file, "is not that of the certificate in", crt_file];
    check_unusable(&crt, &other, pair, of_no_use, &not_its).await;
    let no_key = "it holds no key in PEM";
    check_unusable(&crt, "x", pair, of_no_use, &[key_file, no_key]).await;
    // Go takes the certificate from the first file alone, and the key from the second.
    let both = crt.clone() + &key;
    check_unusable(&both, "", pair, of_no_use, &[key_file, no_key]).await;
    let no_crt = "it holds no certificate in PEM";
    check_unusable("", &both, pair, of_no_use, &[crt_file, no_crt]).await;
    check_unusable(&key, &crt, pair, of_no_use, &[crt_file, no_crt]).await;
    // A list of two files is two client certificates, not a pair.
    let list = "['c.crt', 'c.key']";
    check_unusable(&crt, &key, list, of_no_use, &[crt_file, no_key]).await;
    let cut = &crt[..100];
    check_unusable(cut, &key, pair, of_no_use, &[crt_file, "it is not PEM"]).await;
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let told = [key_file, "its key is encrypted"];
    check_unusable(&crt, &encrypted, pair, of_no_use, &told).await;
    let missing = "[['c.crt', 'c.key'], 'd.pem']";
    let told = [&*format!("{NAME}/d.pem"), "could not be read"];
    check_unusable(&crt, &key, missing, "hosts_unreadable", &told).await;
}

#[tokio::test]
async fn a_folder_in_dockers_layout_has_authorities_and_clients() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let (certificate, key) = clients.sign("puller", 2999);
    let server =
        Server::start_with(Some(ours.server_for(NAME, 2999, Some(&clients))), manifest).await;
    let world = World::new(&[], &[(NAME, &server)]);
    let port = server.address().port();
    let folder = format!("{NAME}_{port}_");
    world.dir.write(&format!("{folder}/ca.crt"), &ours.pem);
    world
        .dir
        .write(&format!("{folder}/client.cert"), certificate.pem());
    world
        .dir
        .write(&format!("{folder}/client.key"), key.serialize_pem());
    // The first by name is by nobody whom the registry knows.
    let (certificate, key) = Authority::new().sign("puller", 2999);
    let both = certificate.pem() + &key.serialize_pem();
    world.dir.write(&format!("{folder}/a.cert"), both);
    world.ask(&format!("{NAME}:{port}/app")).await.unwrap();
}
