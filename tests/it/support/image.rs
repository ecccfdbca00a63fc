//! The image as `make image` would build it, as a folder, and programs that run in it.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    files::{read, root, rust},
    folder::Folder,
    program::Program,
    skip::{Missing, program},
};

/// Where the static program is built to run on Linux without any library.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// What the last stage of the Dockerfile says.
pub(crate) struct Recipe {
    /// What is copied: from where in the build stage, to where.
    pub(crate) copied: Vec<(String, String)>,
    /// Who runs it, as `uid:gid`.
    pub(crate) user: String,
    /// The program.
    pub(crate) entrypoint: Vec<String>,
    /// Its first argument, unless another is given.
    pub(crate) command: Vec<String>,
}

impl Recipe {
    /// Reads the Dockerfile; an instruction in its last stage that is not understood here fails the test.
    pub(crate) fn read() -> Self {
        let text = read("Dockerfile").replace("\\\n", " ");
        let (_, stage) = text.rsplit_once("\nFROM ").unwrap();
        let (base, stage) = stage.split_once('\n').unwrap();
        assert_eq!(base, "scratch", "nothing but what is copied");
        let mut recipe = Self {
            copied: Vec::new(),
            user: String::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
        };
        let words = |list: &str| serde_json::from_str::<Vec<String>>(list).unwrap();
        for line in stage.lines().filter(|line| !line.starts_with('#')) {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("", _) | ("ARG" | "LABEL" | "EXPOSE", _) => {}
                ("COPY", files) => match files.split_whitespace().collect::<Vec<_>>()[..] {
                    ["--from=build", from, to] => {
                        recipe.copied.push((from.to_owned(), to.to_owned()));
                    }
                    _ => panic!("{line}"),
                },
                ("USER", user) => user.clone_into(&mut recipe.user),
                ("ENTRYPOINT", list) => recipe.entrypoint = words(list),
                ("CMD", list) => recipe.command = words(list),
                _ => panic!("{line}: say here what it does to the image"),
            }
        }
        recipe
    }
}

/// The image's files in a folder, and what a kubelet adds to them.
pub(crate) struct Image {
    folder: Folder,
    recipe: Recipe,
    chroot: PathBuf,
}

impl Image {
    /// Lays the image out; the program in it is the one that was built for [`TARGET`].
    pub(crate) fn lay_out() -> Result<Self, Missing> {
        let folder = Folder::new();
        // The folder is that of whoever runs the tests.
        if fs::metadata(folder.path()).unwrap().uid() != 0 {
            return Err(Missing(
                "only root can run a program in another root".to_owned(),
            ));
        }
        let recipe = Recipe::read();
        let image = Self {
            folder,
            recipe,
            chroot: program("chroot")?,
        };
        for (from, to) in &image.recipe.copied {
            // The build's own result comes from here, everything else is a file of the system there as here.
            let from = match &**from {
                "/podrefresh" => built()?,
                from => PathBuf::from(from),
            };
            let to = image.path(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
        Ok(image)
    }

    /// Writes a file as a kubelet mounts it.
    pub(crate) fn mount(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
    }

    /// Mounts what each pod has of its ServiceAccount, and returns the variables that lead to the API server at `url`.
    pub(crate) fn account(&self, kubeconfig: &str, url: &str) -> [(&'static str, String); 2] {
        let config: Value = serde_json::from_str(kubeconfig).unwrap();
        let cluster = &config["clusters"][0]["cluster"];
        let ca = cluster["certificate-authority-data"].as_str().unwrap();
        let ca = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, ca).unwrap();
        let token = config["users"][0]["user"]["token"].as_str().unwrap();
        let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
        self.mount(&format!("{folder}/token"), token);
        self.mount(&format!("{folder}/ca.crt"), &String::from_utf8(ca).unwrap());
        self.mount(&format!("{folder}/namespace"), "podrefresh");
        let (host, port) = url
            .strip_prefix("https://")
            .and_then(|rest| rest.rsplit_once(':'))
            .unwrap();
        [
            ("KUBERNETES_SERVICE_HOST", host.to_owned()),
            ("KUBERNETES_SERVICE_PORT", port.to_owned()),
        ]
    }

    /// Returns the program with these arguments behind the entry point, or with its own if there are none.
    pub(crate) fn run(&self, arguments: &[&str]) -> Program {
        let Recipe {
            user,
            entrypoint,
            command,
            ..
        } = &self.recipe;
        // Others can read and enter it, and write nothing.
        for folder in [self.folder.path(), &self.path("/etc")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut chroot = tokio::process::Command::new(&self.chroot);
        chroot
            .arg(format!("--userspec={user}"))
            .arg("--groups=")
            .arg(self.folder.path())
            .args(entrypoint);
        match arguments {
            [] => chroot.args(command),
            arguments => chroot.args(arguments),
        };
        Program::of(chroot)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }
}

/// Returns the program that was built for [`TARGET`], in whichever profile was built last, if that was after the last
/// change of what it is built from.
fn built() -> Result<PathBuf, Missing> {
    let target = match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => root().join("target"),
    };
    let age = |path: &PathBuf| fs::metadata(path).and_then(|it| it.modified()).ok();
    let places = ["debug", "release"].map(|profile| target.join(TARGET).join(profile));
    let places = places.map(|folder: PathBuf| folder.join("podrefresh"));
    let newest = places
        .into_iter()
        .filter(|path: &PathBuf| Path::exists(path));
    let program = newest.max_by_key(age).ok_or_else(|| {
        Missing(format!(
            "there is no program for {TARGET}: make static builds it"
        ))
    })?;
    let files = [
        &rust("src")[..],
        &["Cargo.toml".into(), "Cargo.lock".into()],
    ]
    .concat();
    let changed = files
        .iter()
        .filter_map(|file| age(&root().join(file)))
        .max();
    match changed <= age(&program) {
        true => Ok(program),
        false => Err(Missing(format!(
            "the program for {TARGET} is older than its sources: make static builds it anew"
        ))),
    }
}
