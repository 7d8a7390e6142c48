package sandbox

import "github.com/gojoblib/parallel/internal/child"

// Importing the package makes it known to worker processes.
func init() {
	child.Sandbox = func(r child.Rules) ([]string, error) { return Apply(Rules(r)) }
}
