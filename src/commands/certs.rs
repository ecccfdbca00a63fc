//! `podrefresh certs`: makes an authority and a serving certificate as files.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::pki_types::{ServerName, UnixTime};

use super::print;
use crate::{
    cli,
    tls::{
        authority::{AUTHORITY_VALIDITY, Authority, Issued},
        chain,
        material::Names,
    },
};

/// One file to write.
struct File {
    name: &'static str,
    content: String,
    /// Only its owner may read a key; a certificate is public.
    mode: u32,
}

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Writes the files, and prints what to do with them.
pub(super) fn run(flags: &cli::Certs) -> anyhow::Result<()> {
    let names = Names::of(&flags.service_name, &flags.namespace)?;
    let now = UnixTime::now();
    let (authority, ca) = authority(flags, now)?;
    let mut all = names.all.clone();
    all.extend(
        flags
            .dns
            .iter()
            .filter(|name| !names.all.contains(name))
            .cloned(),
    );
    let leaf = authority
        .issue_for(&all, now, flags.validity)
        .context("cannot make the serving certificate")?;
    check(&ca, &leaf, &names.verified, now, flags.validity)?;
    let file = |name, content: &str, mode| File {
        name,
        content: content.to_owned(),
        mode,
    };
    let mut files = vec![
        file("tls.key", &leaf.key, PRIVATE),
        file("tls.crt", &leaf.certificate, PUBLIC),
    ];
    if !flags.keep_ca {
        files.push(file("ca.key", &ca.key, PRIVATE));
        files.push(file("ca.crt", &ca.certificate, PUBLIC));
    }
    write(&flags.out, &files, flags.force)?;
    let text = told(flags, &all, &ca.certificate);
    print(&text)
}

/// Returns the authority that signs: the one that lies in the directory, or a new one.
fn authority(flags: &cli::Certs, now: UnixTime) -> anyhow::Result<(Authority, Issued)> {
    if !flags.keep_ca {
        let validity = AUTHORITY_VALIDITY.max(flags.validity);
        return Authority::generate_for(now, validity).context("cannot make the authority");
    }
    let read = |name: &str| {
        let path = flags.out.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let ca = Issued {
        certificate: read("ca.crt")?,
        key: read("ca.key")?,
    };
    let path = flags.out.join("ca.key");
    let authority = Authority::restore(&ca.key)
        .with_context(|| format!("{} is no key that can sign", path.display()))?;
    Ok((authority, ca))
}

/// Checks that a client who trusts the authority accepts the certificate from now on and to its end.
fn check(
    ca: &Issued,
    leaf: &Issued,
    name: &ServerName<'_>,
    now: UnixTime,
    validity: Duration,
) -> anyhow::Result<()> {
    let roots = chain::certificates(ca.certificate.as_bytes()).context("ca.crt is of no use")?;
    let certificate = chain::certificates(leaf.certificate.as_bytes())?;
    chain::verify(&certificate, &roots, name, now).context(
        "ca.crt and ca.key are not those of one authority made by podrefresh certs that is in date",
    )?;
    let last = Duration::from_secs(now.as_secs()) + validity - Duration::from_secs(60);
    let last = UnixTime::since_unix_epoch(last);
    chain::verify(&certificate, &roots, name, last)
        .context("the authority in ca.crt ends before the certificate would: choose a shorter --validity, or make a new authority without --keep-ca")
}

/// Writes all of `files` or none, each as a whole: whoever serves from the directory never reads half of one.
fn write(folder: &Path, files: &[File], replace: bool) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .with_context(|| format!("cannot make the directory {}", folder.display()))?;
    let there: Vec<String> = files
        .iter()
        .map(|file| folder.join(file.name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if !replace && !there.is_empty() {
        bail!(
            "{} would be overwritten: choose another directory for --out, or set --force",
            there.join(", ")
        );
    }
    let mut drafts = Drafts(Vec::new());
    for file in files {
        let draft = folder.join(format!(".{}.{}", file.name, std::process::id()));
        drafts.0.push((draft.clone(), folder.join(file.name)));
        put(&draft, file).with_context(|| format!("cannot write {}", draft.display()))?;
    }
    drafts.publish()
}

fn put(path: &Path, file: &File) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(file.mode);
    let mut open = options.open(path)?;
    open.write_all(file.content.as_bytes())?;
    open.sync_all()
}

/// Files that are written and not yet in their places; what is left of them vanishes with this.
struct Drafts(Vec<(PathBuf, PathBuf)>);

impl Drafts {
    fn publish(mut self) -> anyhow::Result<()> {
        for (draft, path) in std::mem::take(&mut self.0) {
            fs::rename(&draft, &path)
                .inspect_err(|_| self.0.push((draft, path.clone())))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        for (draft, _) in &self.0 {
            let _ = fs::remove_file(draft);
        }
    }
}

/// Returns what to do next, as commands.
fn told(flags: &cli::Certs, names: &[String], authority: &str) -> String {
    let cli::Certs {
        namespace,
        webhook_name,
        ..
    } = flags;
    let path = |name: &str| quoted(&flags.out.join(name).display().to_string());
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    let bundle = BASE64_STANDARD.encode(authority);
    let names = names.join(", ");
    let mut text = format!(
        "Wrote {certificate} and {key}, for {names}.\n\n\
         # A Secret for the directory that --cert-dir names; the running controller takes it up by itself\n\
         kubectl -n {namespace} create secret tls podrefresh-serving --cert={certificate} --key={key} --dry-run=client -o yaml | kubectl apply -f -\n"
    );
    if flags.keep_ca {
        return text + "\nThe authority is the old one: the caBundle stays.\n";
    }
    text += &format!(
        "\n# The caBundle: what the API server trusts the webhooks by\n\
         for kind in mutating validating; do\n\
         \x20 kubectl patch ${{kind}}webhookconfiguration {webhook_name} --type=json -p='[\n\
         \x20   {{\"op\":\"add\",\"path\":\"/webhooks/0/clientConfig/caBundle\",\"value\":\"{bundle}\"}},\n\
         \x20   {{\"op\":\"add\",\"path\":\"/webhooks/1/clientConfig/caBundle\",\"value\":\"{bundle}\"}}]'\n\
         done\n\
         \nKeep {} where nobody else reads it: its owner can pose as the webhook. It signs the next certificate, by --keep-ca.\n",
        path("ca.key")
    );
    text
}

/// Returns `text` as one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./-+@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(quoted(text), expected);
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        check("certs/tls.crt", "certs/tls.crt");
        check("/my certs/a", "'/my certs/a'");
        check("it's", r"'it'\''s'");
        check("$(x)", "'$(x)'");
        check("", "''");
    }
}
