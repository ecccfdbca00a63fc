//! The arguments of `podrefresh completions` and `podrefresh man`: what the command line says of itself.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

/// `podrefresh completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Shell to complete commands in
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `podrefresh man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Subcommand to print the page of, instead of the program's
    #[arg(value_name = "COMMAND", value_parser = command)]
    pub command: Option<String>,
}

impl Completions {
    /// Returns the script that the shell is to read.
    pub fn text(&self) -> String {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), NAME, &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}

impl Man {
    /// Returns the page as roff.
    pub fn text(&self) -> String {
        let mut whole = Cli::command();
        whole.build();
        let page = match &self.command {
            None => whole,
            Some(name) => {
                (whole.find_subcommand(name).cloned()).expect("the name must have been checked")
            }
        };
        let man = clap_mangen::Man::new(page);
        let man = man.source(concat!("podrefresh ", env!("CARGO_PKG_VERSION")));
        let mut text = Vec::new();
        man.render(&mut text)
            .expect("memory must take what is written");
        String::from_utf8_lossy(&text).into_owned()
    }
}

const NAME: &str = "podrefresh";

/// Takes the name of a subcommand.
fn command(text: &str) -> Result<String, String> {
    let whole = Cli::command();
    if whole.find_subcommand(text).is_some() {
        return Ok(text.to_owned());
    }
    let names: Vec<&str> = whole
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    Err(format!("must be one of {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in Shell::value_variants() {
            let script = Completions { shell: *shell }.text();
            for word in ["controller", "sidecar", "digest", "poll-interval"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let page = |command: Option<&str>| {
            let man = Man {
                command: command.map(str::to_owned),
            };
            man.text()
        };
        assert!(page(None).contains("controller"));
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let page = page(Some(name));
            let title = format!(".TH podrefresh-{name} 1");
            assert!(page.contains(&title), "{page}");
        }
        assert!(!page(Some("sidecar")).contains("IMAGE_CHECKER"));
        let refused = command("frob").unwrap_err();
        assert!(
            refused.starts_with("must be one of controller, "),
            "{refused}"
        );
    }
}
