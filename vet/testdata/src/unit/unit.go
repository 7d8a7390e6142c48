// Package unit has numeric types of its own.
package unit

type Celsius float64

type hidden int

type Of[T any] int

func Boil(c Celsius)       {}
func Freeze(h hidden)      {}
func Measure(n Of[string]) {}
