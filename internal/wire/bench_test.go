package wire

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"reflect"
	"testing"
	"time"
)

type twenty struct {
	A, B, C, D int
	E, F       string
	G, H, I    float64
	J          bool
	K          []int
	L          []string
	M          map[string]int
	N          *pair
	O          time.Time
	P          [4]int32
	Q          uint8
	R          string
	S          int64
	T          []byte
}

func BenchmarkInt(b *testing.B)     { benchmark(b, 42) }
func BenchmarkString(b *testing.B)  { benchmark(b, "forty-two") }
func BenchmarkStruct(b *testing.B)  { benchmark(b, pair{"forty-two", 42}) }
func BenchmarkFloats(b *testing.B)  { benchmark(b, make([]float64, 1_000_000)) }
func BenchmarkBytes(b *testing.B)   { benchmark(b, make([]byte, 1_000_000)) }
func BenchmarkStructs(b *testing.B) { benchmark(b, make([]pair, 1000)) }
func BenchmarkMapOfAny(b *testing.B) {
	benchmark(b, map[string]any{"a": 1, "b": "two", "c": 3.0, "d": []int{4}, "e": true})
}
func BenchmarkTwentyFields(b *testing.B) {
	benchmark(b, twenty{E: "e", F: "f", K: []int{1, 2, 3}, L: []string{"a", "b"}, M: map[string]int{"x": 1, "y": 2}, N: &pair{"n", 1}, O: time.Now(), R: "r", T: []byte("t")})
}

func BenchmarkError(b *testing.B) {
	err := fmt.Errorf("reading: %w", &codeError{1})
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendError(buf[:0], err)
		_, _, _ = ReadError(buf)
	}
}

// benchmark measures both directions, typed and by reflection, beside the standard library's codec with its types
// already sent.
func benchmark[T any](b *testing.B, v T) {
	b.Run("typed", func(b *testing.B) {
		var buf []byte
		var got T
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = Append(buf[:0], &v)
			if _, err := Read(buf, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("reflect", func(b *testing.B) {
		var buf []byte
		var held any = v
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = AppendValue(buf[:0], reflect.ValueOf(held))
			if _, _, err := ReadValue(buf, reflect.TypeFor[T]()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("gob", func(b *testing.B) {
		var stream bytes.Buffer
		encoder, decoder := gob.NewEncoder(&stream), gob.NewDecoder(&stream)
		b.ReportAllocs()
		for b.Loop() {
			var got T
			if encoder.Encode(v) != nil || decoder.Decode(&got) != nil {
				b.Skip("not for gob")
			}
		}
	})
}
