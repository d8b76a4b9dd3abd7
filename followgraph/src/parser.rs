//! What clap's derive cannot express: an empty variable counts as not set, as for the services; help lists the commands
//! in groups; the usage in an error is the same in every environment.

use std::ffi::OsStr;

use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _};

use crate::args::Args;
use crate::{output, text};

/// The commands in the order of the help.
#[rustfmt::skip]
const GROUPS: [(&str, &[&str]); 6] = [
    ("Write", &[
        "follow", "unfollow", "remove-follower", "mute", "unmute", "block", "unblock", "accept-request",
        "reject-request", "cancel-request", "privacy", "batch", "replace-following",
    ]),
    ("Read", &[
        "check", "relationship", "followers", "following", "mutes", "blocks", "requests", "counts", "mutuals",
        "known", "set", "suggest", "watch",
    ]),
    ("Accounts", &["erase", "archive", "restore", "job"]),
    ("Bulk", &["import", "export"]),
    ("Operate", &["status", "migrate", "recover", "clock"]),
    ("Older service", &["legacy"]),
];

/// Reads the arguments of this process. Exits if they are wrong, or ask for help.
pub fn parse() -> Args {
    let mut command = command(|name| std::env::var_os(name));
    if std::env::args_os().len() < 2 {
        // Without arguments, the help goes to stderr.
        output::note(command.render_help().to_string().trim_end());
        std::process::exit(2);
    }
    let args = Args::from_arg_matches(&command.get_matches());
    args.unwrap_or_else(|error| error.exit())
}

fn command(variable: impl Fn(&OsStr) -> Option<std::ffi::OsString> + Copy) -> Command {
    let mut command = Args::command();
    command.build();
    in_groups(prepared(command, variable))
}

/// Ignores empty variables, and fixes the usage text.
fn prepared(command: Command, variable: impl Fn(&OsStr) -> Option<std::ffi::OsString> + Copy) -> Command {
    let is_empty = |name: &OsStr| {
        variable(name).is_some_and(|value| value.to_str().is_some_and(|text| text::trimmed(text).is_empty()))
    };
    let without_empty = |arg: Arg| {
        let empty = arg.get_env().is_some_and(is_empty);
        if empty { arg.env(None::<&'static str>) } else { arg }
    };
    let mut command = command.mut_args(without_empty);
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    command.override_usage(usage).mut_subcommands(|sub| prepared(sub, variable))
}

/// Replaces the list of commands in the help by one in groups.
fn in_groups(command: Command) -> Command {
    let mut list = String::new();
    let width = GROUPS.iter().flat_map(|(_, names)| *names).map(|name| name.len()).max().unwrap_or_default();
    for (heading, names) in GROUPS {
        list += &format!("{heading}:\n");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            list += &format!("  {name:width$}  {about}\n");
        }
        list.push('\n');
    }
    command.mut_subcommands(|sub| sub.hide(true)).help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}{{all-args}}{{after-help}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)], args: &[&str]) -> Result<Args, clap::Error> {
        let variables: Vec<(&str, &str)> = variables.to_vec();
        let empty = |name: &OsStr| {
            variables.iter().find(|(known, _)| name == *known).map(|(_, value)| (*value).into())
        };
        let matches = command(empty).try_get_matches_from([&["followgraph"], args].concat())?;
        Args::from_arg_matches(&matches)
    }

    #[test]
    fn every_command_is_in_one_group() {
        let mut listed: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let command = Args::command();
        let mut defined: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        listed.sort_unstable();
        defined.sort_unstable();
        assert_eq!(listed, defined);
        let help = super::command(|_| None).render_help().to_string();
        assert!(help.contains("\nRead:\n  check "), "{help}");
        assert!(!help.contains("Commands:"), "{help}");
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let all =
            ["FOLLOWGRAPH_COMMAND_ADDR", "FOLLOWGRAPH_CA_FILE", "FOLLOWGRAPH_CERT_FILE", "FOLLOWGRAPH_TLS"];
        let args = parse(&all.map(|name| (name, " ")), &["status"]).unwrap();
        assert_eq!(args.global.connection.command_addr, "127.0.0.1:9080");
        assert!(args.global.connection.tls.ca.is_none() && args.global.connection.tls.cert.is_none());
        assert!(!args.global.connection.tls.tls);
    }

    #[test]
    fn the_usage_in_an_error_names_required_arguments() {
        let error = parse(&[], &["follow", "1"]).unwrap_err().to_string();
        assert!(error.contains("Usage: followgraph follow [OPTIONS] <ACTOR> <TARGET>"), "{error}");
        let error = parse(&[], &["legacy", "stats", "--nope"]).unwrap_err().to_string();
        assert!(error.contains("Usage: followgraph legacy stats [OPTIONS]"), "{error}");
    }

    #[test]
    fn help_lists_output_under_options() {
        let help =
            super::command(|_| None).find_subcommand_mut("check").unwrap().render_long_help().to_string();
        let place = |text: &str| help.find(text).unwrap_or_else(|| panic!("no {text} in {help}"));
        assert!(place("Options:") < place("--output") && place("--output") < place("Connection:"), "{help}");
    }
}
