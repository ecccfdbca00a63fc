//! The program's flags: the table told, the manifests and `--help` say the same.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{
    files::read,
    help,
    kubectl::Kubectl,
    markdown::{code, table},
    skip::need,
    yaml::{kustomizations, list, render},
};

/// Commands, and the pages that tell their flags.
const TOLD: [(&str, &str); 4] = [
    ("controller", "docs/operations.md"),
    ("certs", "docs/operations.md"),
    ("sidecar", "docs/operations.md"),
    ("once", "docs/once.md"),
];

#[test]
fn the_flags_told_are_those_of_the_program() {
    for (command, page) in TOLD {
        check_told(command, page);
    }
}

/// Checks a command's table of flags.
#[track_caller]
fn check_told(command: &str, page: &str) {
    let heading = format!("## Flags of `podrefresh {command}`");
    let told: BTreeMap<String, Option<String>> = table(&read(page), &heading)
        .iter()
        .map(|row| {
            (
                code(&row[0])[0].to_owned(),
                code(&row[1]).first().map(|word| (*word).to_owned()),
            )
        })
        .collect();
    let mut real: BTreeMap<String, Option<String>> = help::flags(command)
        .into_iter()
        .map(|(name, flag)| (name, flag.default))
        .collect();
    // How to log is told once on a page.
    if matches!(command, "certs" | "sidecar") {
        real.retain(|name, _| !name.starts_with("--log-"));
    }
    assert_eq!(
        told, real,
        "{page} on the left, {command} --help on the right"
    );
}

#[test]
fn every_flag_has_its_variable() {
    for (name, flag) in TOLD
        .into_iter()
        .flat_map(|(command, _)| help::flags(command))
    {
        let variable = format!("PODREFRESH_{}", name[2..].replace('-', "_").to_uppercase());
        assert_eq!(flag.env, Some(variable), "{name}");
    }
}

#[test]
fn flags_variables_and_ports_are_the_programs() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let mut checked = 0;
    for folder in kustomizations() {
        for object in render(&kubectl, &folder) {
            for pod in [
                "/spec/template/spec",
                "/spec/jobTemplate/spec/template/spec",
            ] {
                let containers = ["initContainers", "containers"]
                    .map(|list| object.pointer(&format!("{pod}/{list}")));
                let containers = containers.into_iter().flatten();
                let containers = containers.filter_map(Value::as_array).flatten();
                // Examples have containers of other programs, too.
                let ours = |it: &&Value| {
                    it["image"]
                        .as_str()
                        .is_some_and(|it| it.contains("/podrefresh:"))
                };
                for container in containers.filter(ours) {
                    check_command_line(container, &folder);
                    checked += 1;
                }
            }
        }
    }
    assert!(3 < checked, "only {checked} containers");
}

/// Checks a container's arguments, environment and ports against the program's own words.
#[track_caller]
pub(crate) fn check_command_line(container: &Value, folder: &str) {
    let args: Vec<&str> = list(container, "/args")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let (command, args) = args.split_first().expect("args must name a command");
    let flags = help::flags(command);
    for name in args.iter().map(|arg| arg.split('=').next().unwrap()) {
        assert!(
            name.starts_with("--"),
            "{folder}: {name}: write --flag=value"
        );
        assert!(flags.contains_key(name), "{folder}: there is no {name}");
    }
    for variable in optional(container, "/env").filter_map(|env| env["name"].as_str()) {
        if variable.starts_with("PODREFRESH_") {
            let known = flags
                .values()
                .any(|flag| flag.env.as_deref() == Some(variable));
            assert!(known, "{folder}: no flag reads {variable}");
        }
    }
    for port in optional(container, "/ports") {
        let flag = format!("--{}-addr", port["name"].as_str().unwrap());
        let known = flags.get(&flag);
        let default = known.and_then(|flag| flag.default.as_deref());
        // What is off by default is on by its variable.
        let variable = known.and_then(|flag| flag.env.as_deref());
        let set = optional(container, "/env")
            .find(|env| variable.is_some() && env["name"].as_str() == variable);
        let addr = set.and_then(|env| env["value"].as_str()).or(default);
        let number = addr.and_then(|addr| addr.rsplit(':').next());
        assert_eq!(
            number,
            Some(port["containerPort"].to_string().as_str()),
            "{folder}: {flag}"
        );
    }
}

/// Returns the items of a list that need not be there.
fn optional<'a>(container: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let list = container.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}
