package constant

import . "github.com/gojoblib/parallel"

// This file does not import the packages whose types these parameters have.
func unimported(pause interface{ wait(timespan) }) {
	_ = Delayed(pause.wait, 1) // want `argument 0 of pause.wait is int, its parameter timespan: a constant passed as any has its default type; convert it to timespan`
}
