package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gojoblib/parallel/memo"
)

type digest = [sha256.Size]byte

// hasher returns what hashes value i. What it does before that is not timed.
type hasher func(vs []any) func(i int) (digest, error)

func memoHash(vs []any) func(int) (digest, error) {
	return func(i int) (digest, error) {
		d, err := memo.Hash(vs[i])
		return digest(d), err
	}
}

// gobHash is what people write.
func gobHash(vs []any) func(int) (digest, error) {
	return func(i int) (d digest, err error) {
		h := sha256.New()
		err = gob.NewEncoder(h).Encode(vs[i])
		h.Sum(d[:0])
		return d, err
	}
}

// rawHash is the floor: the hash that memo.Hash uses over the bytes of the value, which are there already.
func rawHash(vs []any) func(int) (digest, error) {
	raw := mapped(vs, bytesOf)
	return func(i int) (digest, error) { return sha256.Sum256(raw[i]), nil }
}

func bytesOf(v any) (b []byte) {
	number := func(x uint64) { b = binary.LittleEndian.AppendUint64(b, x) }
	switch v := v.(type) {
	case int:
		number(uint64(v))
	case pair:
		b = append(b, v.S...)
		number(uint64(v.N))
	case fields:
		number(uint64(v.ID))
		b = append(b, v.Name...)
		number(math.Float64bits(v.Ratio))
		b = append(b, 0)
		if v.On {
			b[len(b)-1] = 1
		}
	case []float64:
		for _, x := range v {
			number(math.Float64bits(x))
		}
	}
	return b
}

// digests hashes values again and again. Different ones have different digests, which are the same every time.
func (s *goSession) digests(j job) (sample, error) {
	hash := s.hash(values(j.Kind, j.Keys))
	want := make([]digest, j.Keys)
	if err := call(cycle(j.Keys, j.Keys), want, hash); err != nil {
		return sample{}, err
	}
	whose := map[digest]int{}
	for i, d := range want {
		if k, ok := whose[d]; ok {
			return sample{}, fmt.Errorf("values %d and %d have the same digest", k, i)
		}
		whose[d] = i
	}
	if known := s.known[j.Kind]; known != nil && !slices.Equal(known, want) {
		return sample{}, errors.New("a digest has changed")
	}
	s.known[j.Kind] = want
	return hits(j, hash, func(i int) digest { return want[i] }, same)
}
