package memo

import (
	"crypto/sha256"
	"reflect"
	"strconv"
	"testing"
	"time"
)

type fourFields struct {
	ID    int
	Name  string
	Ratio float64
	On    bool
}

func BenchmarkKey(b *testing.B) {
	benchmarkKey(b, "int", 42)
	benchmarkKey(b, "string", "forty-two")
	benchmarkKey(b, "string,int", struct {
		S string
		N int
	}{"forty-two", 42})
	benchmarkKey(b, "four fields", fourFields{42, "forty-two", 4.2, true})
	benchmarkKey(b, "time", time.Now())
	benchmarkKey(b, "pointer", &fourFields{42, "forty-two", 4.2, true})
	benchmarkKey(b, "any", any(fourFields{42, "forty-two", 4.2, true}))
	benchmarkKey(b, "20 strings", make([]string, 20))
	m, anys := map[string]int{}, map[string]any{}
	for i := range 20 {
		m[strconv.Itoa(i)] = i
		anys[strconv.Itoa(i)] = i
	}
	benchmarkKey(b, "map of 20", m)
	benchmarkKey(b, "map of 20 any", anys)
	benchmarkKey(b, "1e6 float64", make([]float64, 1e6))
	benchmarkKey(b, "1e6 structs", make([]struct{ X, Y int }, 1e6))
	benchmarkKey(b, "1e5 mixed structs", make([]fourFields, 1e5))
}

// benchmarkKey measures the key of a call whose type is known, of one whose type is not, Hash, and, as the floor,
// SHA-256 over as many bytes as the value takes in memory.
func benchmarkKey[A any](b *testing.B, name string, a A) {
	s, err := newSignature([]reflect.Type{reflect.TypeFor[A]()}, "pkg.Func", "v1")
	if err != nil {
		b.Fatal(err)
	}
	run := func(kind string, key func() error) {
		b.Run(name+"/"+kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := key(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("typed", func() error { _, err := keyOf(s, &a); return err })
	args := []any{a}
	run("any", func() error { _, err := s.key(args); return err })
	run("Hash", func() error { _, err := Hash(args[0]); return err })
	raw := make([]byte, reflect.TypeFor[A]().Size()+17)
	if v := reflect.ValueOf(a); v.Kind() == reflect.Slice {
		raw = make([]byte, uintptr(v.Len())*v.Type().Elem().Size())
	}
	run("sha256", func() error { _ = sha256.Sum256(raw); return nil })
}
