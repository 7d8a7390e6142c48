package cache

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sealed(t testing.TB, k Key, value []byte, compress bool) []byte {
	first, payload, err := seal(k, Record{Value: value, Stored: time.Unix(5, 6), Took: 7}, compress)
	require.NoError(t, err)
	return append(first, payload...)
}

func TestEveryDamageOfARecordIsNoticed(t *testing.T) {
	for _, compress := range []bool{false, true} {
		value := append(content(1, 3000), make([]byte, 3000)...)
		whole := sealed(t, key(1), value, compress)
		rec, err := unseal(bytes.Clone(whole), key(1))
		require.NoError(t, err)
		require.Equal(t, value, rec.Value)
		for n := 0; n < len(whole); n += 1 + n/200 {
			_, err := unseal(bytes.Clone(whole[:n]), key(1))
			require.ErrorIs(t, err, errDamaged, "cut off after %d bytes", n)
		}
		_, err = unseal(append(bytes.Clone(whole), 0), key(1))
		require.ErrorIs(t, err, errDamaged)
		step := 1
		for bit := 0; bit < 8*len(whole); bit += step {
			if bit == 8*200 {
				step = 13
			}
			b := bytes.Clone(whole)
			b[bit/8] ^= 1 << (bit % 8)
			_, err := unseal(b, key(1))
			require.ErrorIs(t, err, errDamaged, "bit %d", bit)
		}
		_, err = unseal(whole, key(2))
		require.ErrorIs(t, err, errDamaged, "it is another key's")
	}
}

func TestRecordOfManyBytesThatAreAlikeIsSmall(t *testing.T) {
	assert.Less(t, len(sealed(t, key(1), make([]byte, 1<<20), true)), 1000)
	assert.Greater(t, len(sealed(t, key(1), make([]byte, 1<<20), false)), 1<<20)
	noise := content(1, 10_000)
	assert.Equal(t, sealed(t, key(1), noise, false), sealed(t, key(1), noise, true), "compression that saves nothing is left out")
}

// FuzzRecord gives unseal what a damaged disk, or an enemy, might: with and without right checksums.
func FuzzRecord(f *testing.F) {
	f.Add(sealed(f, Key{}, nil, false), false)
	f.Add(sealed(f, Key{}, []byte("value"), false), true)
	f.Add(sealed(f, Key{Group: "main.f"}, []byte("value"), false), true)
	f.Add(sealed(f, Key{}, bytes.Repeat([]byte("value"), 2000), true), true)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair {
			mend(b)
		}
		if len(b) >= headSize && binary.LittleEndian.Uint64(b[64:]) > 1<<24 {
			return // a right record of that size takes its time
		}
		given := bytes.Clone(b)
		h, _, err := readHead(b)
		rec, bad := unseal(b, h.key)
		require.Equal(t, given, b, "what was read was written to")
		if bad != nil {
			require.ErrorIs(t, bad, errDamaged)
			return
		}
		require.NoError(t, err)
		first, payload, err := seal(h.key, rec, false)
		require.NoError(t, err)
		if h.codec == plainValue && given[5] == plainValue {
			require.Equal(t, given, append(first, payload...), "two files for one record")
		}
		again, err := unseal(append(first, payload...), h.key)
		require.NoError(t, err)
		require.True(t, bytes.Equal(rec.Value, again.Value))
	})
}

// mend gives b the checksums and the lengths that make it look right.
func mend(b []byte) {
	if len(b) < headSize {
		return
	}
	copy(b, magic)
	b[4], b[5] = recordVersion, b[5]%2
	n := headSize + int(binary.LittleEndian.Uint16(b[6:]))
	if n > len(b) {
		n = headSize
		binary.LittleEndian.PutUint16(b[6:], 0)
	}
	binary.LittleEndian.PutUint64(b[72:], uint64(len(b)-n))
	if b[5] == plainValue {
		binary.LittleEndian.PutUint64(b[64:], uint64(len(b)-n))
	}
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[n:], castagnoli))
	clear(b[8:12])
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[:n], castagnoli))
}

func BenchmarkSeal(b *testing.B) {
	value := bytes.Repeat(content(1, 100), 1e4)
	for _, compress := range []bool{false, true} {
		b.Run(map[bool]string{false: "plain", true: "s2"}[compress], func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			for b.Loop() {
				seal(key(1), Record{Value: value}, compress)
			}
		})
	}
}
