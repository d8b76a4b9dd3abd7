//go:build tools

// Docker Compose, which Debian 12 has only in its first version. Its own go.mod excludes versions, which `go install`
// rejects. To take another version: change it in go.mod, then run go mod tidy.
package compose

import _ "github.com/docker/compose/v2/cmd"
