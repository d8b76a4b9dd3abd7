//go:build tools

// The programs of Kubernetes that the test cluster runs. To take another version: change go.mod (the staging modules
// v0.X.Y belong to Kubernetes v1.X.Y), then run go mod tidy.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
