//! Files of the node, all of them below one folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use devstack::{fetch::remove_folder, workspace};

/// The folder of the node, and what is where in it.
#[derive(Debug, Clone)]
pub struct Place(PathBuf);

impl Place {
    /// The one of this clone.
    pub fn of_this_clone() -> Self {
        Self(workspace::dev().join("cluster"))
    }

    /// The folder `name`, created if it is missing.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.0.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// Output of the node's first process.
    pub fn node_log(&self) -> PathBuf {
        self.0.join("node.log")
    }

    /// The id of the process that holds the namespaces.
    pub fn pid_file(&self) -> PathBuf {
        self.0.join("node.pid")
    }

    /// Exists while the node is ready.
    pub fn ready_file(&self) -> PathBuf {
        self.0.join("node.ready")
    }

    /// The administrator's access to the API server.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("pki/kubeconfig")
    }

    /// Removes everything. The node must be stopped.
    pub fn remove(&self) -> Result<()> {
        remove_folder(&self.0)
    }
}

/// Writes a file and the folders above it.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}
