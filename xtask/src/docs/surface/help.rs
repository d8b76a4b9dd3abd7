//! The output of `--help` of every program and subcommand.

use std::{fmt::Write as _, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use devstack::services::Program;

pub(super) fn render(binaries: &Path) -> Result<String> {
    let mut page = String::new();
    let services = Program::ALL.map(Program::binary);
    for program in services.into_iter().chain(["followgraph", "xtask"]) {
        add(&mut page, binaries, &[program], "")?;
    }
    Ok(page)
}

/// Adds the help of a program or subcommand, then that of its subcommands. Leaves out sections that the parent has too:
/// a change of an option that all subcommands have is one change.
fn add(page: &mut String, binaries: &Path, path: &[&str], parent: &str) -> Result<()> {
    let help = ask(binaries, path)?.with_context(|| format!("{} --help failed", path.join(" ")))?;
    let rule = "=".repeat(78);
    writeln!(page, "{rule}\n{} --help\n{rule}", path.join(" "))?;
    let known = sections(parent);
    for section in sections(&help).iter().filter(|section| !known.contains(section)) {
        writeln!(page, "{section}")?;
    }
    if !help.contains("<COMMAND>") {
        return Ok(());
    }
    let mut seen = 0;
    for name in names(&help) {
        let path = [path, &[name]].concat();
        // Other text may be indented like a name; clap refuses it as a subcommand.
        if ask(binaries, &path)?.is_some() {
            add(page, binaries, &path, &help)?;
            seen += 1;
        }
    }
    ensure!(seen > 0, "{} --help names no subcommand", path.join(" "));
    Ok(())
}

/// Parts that begin with a line that is not indented, trimmed.
fn sections(help: &str) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for line in help.lines().map(str::trim_end) {
        match sections.last_mut() {
            Some(section) if line.is_empty() || line.starts_with(' ') => *section += &format!("\n{line}"),
            _ => sections.push(line.to_owned()),
        }
    }
    sections.into_iter().map(|section| section.trim_end().to_owned()).collect()
}

/// Names of subcommands: a line has two spaces, the name and its meaning.
fn names(help: &str) -> impl Iterator<Item = &str> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  "));
    lines
        .map(|(name, _)| name)
        .filter(|name| name.starts_with(|char: char| char.is_ascii_lowercase()) && !name.contains(' '))
        .filter(|name| *name != "help")
}

/// The help; `None` if the program refuses the arguments. Without environment, because clap prints variables that are set.
fn ask(binaries: &Path, path: &[&str]) -> Result<Option<String>> {
    let (program, arguments) = path.split_first().context("a program")?;
    let output = Command::new(binaries.join(program))
        .args(arguments)
        .arg("--help")
        .env_clear()
        .output()
        .with_context(|| format!("cannot run {program}; is it built?"))?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_found_and_options_are_not() {
        let help = "Usage: x <COMMAND>\n\nRead:\n  check      Tells\n  help  Print\n  \
                    -o, --output  How\n  2  error\n      [default: a]\n";
        assert_eq!(names(help).collect::<Vec<_>>(), ["check"]);
    }

    #[test]
    fn a_section_is_a_heading_with_what_is_indented_under_it() {
        let help = "Usage: x\n\nOptions:\n  -a\n      A\n\n  -b\n\nMore:\n  -c\n";
        assert_eq!(sections(help), ["Usage: x", "Options:\n  -a\n      A\n\n  -b", "More:\n  -c"]);
    }
}
