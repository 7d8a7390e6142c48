//go:build !unix && !windows

package parallel

import "time"

// processTime would be the CPU time that this process has used: here it is not known.
func processTime() time.Duration { return 0 }
