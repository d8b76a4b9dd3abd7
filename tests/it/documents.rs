//! Pages of `docs` agree with the manifests of `k8s`.

use std::fs;

use devstack::workspace;

#[test]
fn every_port_of_nats_is_named_for_ipv6() {
    let root = workspace::root();
    let guide = fs::read_to_string(root.join("docs/kubernetes.md")).expect("the guide");
    let (_, rest) = guide.split_once("\n## IPv6\n").expect("the section");
    let (section, _) = rest.split_once("\n## ").expect("the section after it");
    let mut seen = 0;
    for folder in ["k8s/servers/nats", "k8s/overlays/production/nats"] {
        for file in
            fs::read_dir(root.join(folder)).expect("a folder").map(|file| file.expect("a file").path())
        {
            let text = fs::read_to_string(&file).expect("UTF-8");
            if !text.lines().any(|line| line.trim_start().starts_with("port:")) {
                continue;
            }
            // Each port has its own host, and without one listens on IPv4 only.
            let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
            assert!(text.contains(r#"host: "::""#), "{name} does not say how it listens on IPv6");
            assert!(section.contains(name), "{name} is not in the section on IPv6");
            seen += 1;
        }
    }
    assert_eq!(seen, 2, "clients and cluster");
}
