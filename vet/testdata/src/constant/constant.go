package constant

import (
	"math"
	"strconv"
	"time"

	p "github.com/gojoblib/parallel"
	deg "unit"
)

type meters float32

const two = 2

const typed int = 2

func walk(m meters)             {}
func small(n uint8)             {}
func signed(n int8)             {}
func single(f float32)          {}
func turn(c complex64)          {}
func letter(r rune)             {}
func octet(b byte)              {}
func wide(n int64)              {}
func alias(f real)              {}
func text(s string)             {}
func mixed(a, b float64, n int) {}

type (
	real     = float64
	timespan = time.Duration
)

func fixed() {
	_ = p.Delayed(math.Sqrt, 2)               // want `argument 0 of math.Sqrt is int, its parameter float64: a constant passed as any has its default type; write float64\(2\)`
	_ = p.Delayed(math.Sqrt, two)             // want `write float64\(two\)`
	_ = p.Delayed(math.Sqrt, -two*(1<<3)+1)   // want `write float64\(-two \* \(1 << 3\) \+ 1\)`
	_ = p.Delayed(math.Sqrt, math.MaxUint16)  // want `write float64\(math.MaxUint16\)`
	_ = p.Delayed(math.Sqrt, (2))             // want `write float64\(2\)`
	_ = p.Delayed(math.Sqrt, any(2))          // want `write float64\(2\)`
	_ = p.Delayed(math.Sqrt, 'x')             // want `write float64\('x'\)`
	_ = p.Delayed(mixed, 1, 2.5, 3.0)         // want `argument 0 .* write float64\(1\)` `argument 2 .* write int\(3.0\)`
	_ = p.Delayed(single, 0.1)                // want `write float32\(0.1\)`
	_ = p.Delayed(turn, 2i)                   // want `write complex64\(2i\)`
	_ = p.Delayed(turn, 1)                    // want `write complex64\(1\)`
	_ = p.Delayed(small, 255)                 // want `write uint8\(255\)`
	_ = p.Delayed(signed, -128)               // want `write int8\(-128\)`
	_ = p.Delayed(letter, 65)                 // want `write rune\(65\)`
	_ = p.Delayed(octet, 'x')                 // want `write byte\('x'\)`
	_ = p.Delayed(wide, 1<<40)                // want `write int64\(1 << 40\)`
	_ = p.Delayed(alias, 1)                   // want `write float64\(1\)`
	_ = p.Delayed(walk, 100)                  // want `write meters\(100\)`
	_ = p.Delayed(time.Sleep, 100)            // want `write time.Duration\(100\)`
	_ = p.Delayed(deg.Boil, 100)              // want `write deg.Celsius\(100\)`
	_ = p.Delayed(math.Sqrt, strconv.IntSize) // want `write float64\(strconv.IntSize\)`
	_ = p.Delayed(math.Sqrt, 2).Named("two")  // want `write float64\(2\)`
}

// unfixed is reported without a fix: the value does not fit, is no untyped constant, or the type cannot be written.
func unfixed() {
	n := 2
	_ = p.Delayed(small, 256)            // want `argument 0 of small is int, its parameter uint8: it cannot hold 256; pass a value that fits`
	_ = p.Delayed(small, -1)             // want `it cannot hold -1`
	_ = p.Delayed(signed, 128)           // want `it cannot hold 128`
	_ = p.Delayed(signed, -129)          // want `it cannot hold -129`
	_ = p.Delayed(signed, 1.5)           // want `it cannot hold 1.5`
	_ = p.Delayed(single, 1e300)         // want `it cannot hold 1e300`
	_ = p.Delayed(single, 1i)            // want `it cannot hold 1i`
	_ = p.Delayed(turn, 1e300i)          // want `it cannot hold 1e300i`
	_ = p.Delayed(text, 'x')             // want `pass a value of this type`
	_ = p.Delayed(text, 1)               // want `pass a value of this type`
	_ = p.Delayed(math.Sqrt, typed)      // want `convert it to float64`
	_ = p.Delayed(math.Sqrt, two*typed)  // want `convert it to float64`
	_ = p.Delayed(math.Sqrt, n)          // want `convert it to float64`
	_ = p.Delayed(math.Sqrt, len("two")) // want `convert it to float64`
	_ = p.Delayed(deg.Freeze, 1)         // want `argument 0 of deg.Freeze is int, its parameter unit.hidden: .* convert it to unit.hidden`
	_ = p.Delayed(deg.Measure, 1)        // want `convert it to unit.Of\[string\]`
}

func shadowed(pause func(time.Duration)) {
	type float64 string
	_ = p.Delayed(math.Sqrt, 2) // want `convert it to float64`
	time := 1
	_ = p.Delayed(pause, time) // want `argument 0 of pause is int, its parameter time.Duration: nothing`
	_ = p.Delayed(pause, 100)  // want `convert it to time.Duration`
}
