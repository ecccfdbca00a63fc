//! A mirror that has registries in folders, as Harbor's proxy projects are, and gives tokens for its own names of things.

use podrefresh::registry::{HostsDir, Settings};
use testbed::{
    images::Format,
    registry::{Auth, Bearer, Options, Registry, Target},
};

use crate::support::{
    folder::Folder,
    resolver::{ask, lookup, resolver},
};

#[tokio::test(flavor = "multi_thread")]
async fn each_lookup_but_the_first_is_one_request() {
    let auth = Auth::Bearer(Bearer {
        public: vec!["hub/*".to_owned()],
        ..Bearer::new([])
    });
    let options = Options {
        auth,
        ..Options::default()
    };
    let mirror = Registry::start(options).await.unwrap();
    let image = Format::Oci.multi_platform("1");
    mirror.store("hub/team/app", "1", &image);
    let registries = Folder::new();
    std::fs::create_dir(registries.path().join("registry.test")).unwrap();
    let host = format!("[host.\"{}/v2/hub\"]\noverride_path = true\n", mirror.url());
    registries.write("registry.test/hosts.toml", &host);
    let settings = Settings {
        hosts: Some(HostsDir::open(registries.path()).unwrap()),
        ..Settings::default()
    };
    let resolver = resolver(settings, None);
    let lookup = lookup("registry.test/team/app:1", "shop", &[]);
    for _ in 0..2 {
        assert_eq!(ask(&resolver, &lookup).await.unwrap(), image.digest());
    }
    let seen = mirror.requests(&Target::manifests());
    let statuses: Vec<Option<u16>> = seen.iter().map(|seen| seen.status).collect();
    assert_eq!((statuses, mirror.token_requests()), (vec![Some(200); 2], 1));
}
