package constant

import (
	. "unit"

	. "github.com/gojoblib/parallel"
)

func dotted() {
	_ = Delayed(Boil, 100) // want `write Celsius\(100\)`
}
