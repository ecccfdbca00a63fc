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

#[test]
fn the_flags_told_are_those_of_the_program() {
    let told: BTreeMap<String, Option<String>> = table(
        &read("docs/operations.md"),
        "## Flags of `podrefresh controller`",
    )
    .iter()
    .map(|row| {
        (
            code(&row[0])[0].to_owned(),
            code(&row[1]).first().map(|word| (*word).to_owned()),
        )
    })
    .collect();
    let real: BTreeMap<String, Option<String>> = help::flags("controller")
        .into_iter()
        .map(|(name, flag)| (name, flag.default))
        .collect();
    assert_eq!(
        told, real,
        "docs/operations.md on the left, --help on the right"
    );
}

#[test]
fn every_flag_has_its_variable() {
    for (name, flag) in help::flags("controller") {
        let variable = format!("PODREFRESH_{}", name[2..].replace('-', "_").to_uppercase());
        assert_eq!(flag.env, Some(variable), "{name}");
    }
}

#[test]
fn flags_variables_and_ports_are_the_programs() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    for folder in kustomizations() {
        for object in render(&kubectl, &folder) {
            if let Some(containers) = object.pointer("/spec/template/spec/containers") {
                for container in containers.as_array().unwrap() {
                    check_command_line(container, &folder);
                }
            }
        }
    }
}

/// Checks a container's arguments, environment and ports against the program's own words.
#[track_caller]
fn check_command_line(container: &Value, folder: &str) {
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
    for variable in list(container, "/env")
        .iter()
        .filter_map(|env| env["name"].as_str())
    {
        if variable.starts_with("PODREFRESH_") {
            let known = flags
                .values()
                .any(|flag| flag.env.as_deref() == Some(variable));
            assert!(known, "{folder}: no flag reads {variable}");
        }
    }
    for port in list(container, "/ports") {
        let flag = format!("--{}-addr", port["name"].as_str().unwrap());
        let default = flags.get(&flag).and_then(|flag| flag.default.as_deref());
        let number = default.and_then(|addr| addr.rsplit(':').next());
        assert_eq!(
            number,
            Some(port["containerPort"].to_string().as_str()),
            "{folder}: {flag}"
        );
    }
}
