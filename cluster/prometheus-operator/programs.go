//go:build tools

// The programs of the Prometheus operator. Its own go.mod replaces two of its modules by folders, which `go install`
// rejects; their published versions are the same. To take another version: change it in go.mod three times, then run
// go mod tidy.
package operator

import (
	_ "github.com/prometheus-operator/prometheus-operator/cmd/operator"
	_ "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader"
)
