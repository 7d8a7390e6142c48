//go:build unix && !linux

package child

import "os"

func named() {}

// watchParent does nothing here: the end of the link ends the worker.
func watchParent(life *os.File) {
	if gone(life) {
		abandoned()
	}
}

// limitMemory leaves it to the near end, which watches the worker.
func limitMemory(int64) error { return nil }
