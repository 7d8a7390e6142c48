package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/klauspost/compress/s2"
)

// A record on disk is a head, the group's name and the payload, all numbers little-endian:
//
//	 0  magic
//	 4  version
//	 5  codec of the payload
//	 6  length of the group
//	 8  CRC-32C of head and group, with this field zero
//	12  CRC-32C of the payload
//	16  Key.Sum
//	48  stored, nanoseconds since 1970
//	56  took, nanoseconds
//	64  length of the value
//	72  length of the payload
//	80  group, payload
//
// Both checksums must hold, the lengths must add up to the file's, and the key must be the one that was asked for. The
// head can be read without the payload.
const (
	magic         = "\xfbpjr"
	recordVersion = 1
	headSize      = 80

	plainValue = 0
	s2Value    = 1

	// worthPacking is from what length on a value is compressed; less would take a block of the disk anyway.
	worthPacking = 4 << 10
	// maxPacked bounds what is compressed: one block of s2, in memory.
	maxPacked = 1 << 30
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errDamaged = errors.New("the record is damaged")
)

// head is a record without its value.
type head struct {
	key     Key
	codec   byte
	sum     uint32 // the payload's checksum
	stored  int64
	took    time.Duration
	size    int64 // the value's
	payload int64 // bytes that follow
}

// seal returns the two parts of a record's file. Of a value that is not compressed the second is its own memory.
func seal(k Key, rec Record, compress bool) (first, payload []byte, err error) {
	if len(k.Group) > math.MaxUint16 {
		return nil, nil, fmt.Errorf("the name of its group has %d bytes, more than %d", len(k.Group), math.MaxUint16)
	}
	payload = rec.Value
	var codec byte
	if compress && len(payload) >= worthPacking && len(payload) <= maxPacked {
		if packed := s2.Encode(nil, payload); len(packed) <= len(payload)-len(payload)/8 {
			payload, codec = packed, s2Value
		}
	}
	b := make([]byte, headSize, headSize+len(k.Group))
	copy(b, magic)
	b[4], b[5] = recordVersion, codec
	binary.LittleEndian.PutUint16(b[6:], uint16(len(k.Group)))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(payload, castagnoli))
	copy(b[16:], k.Sum[:])
	binary.LittleEndian.PutUint64(b[48:], uint64(rec.Stored.UnixNano()))
	binary.LittleEndian.PutUint64(b[56:], uint64(rec.Took))
	binary.LittleEndian.PutUint64(b[64:], uint64(len(rec.Value)))
	binary.LittleEndian.PutUint64(b[72:], uint64(len(payload)))
	b = append(b, k.Group...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
	return b, payload, nil
}

// readHead reads the head that b begins with and returns what follows the group.
func readHead(b []byte) (h head, rest []byte, err error) {
	if len(b) < headSize || string(b[:4]) != magic || b[4] != recordVersion {
		return h, nil, errDamaged
	}
	n := headSize + int(binary.LittleEndian.Uint16(b[6:]))
	if len(b) < n {
		return h, nil, errDamaged
	}
	sum := crc32.Update(crc32.Checksum(b[:8], castagnoli), castagnoli, zeros[:])
	sum = crc32.Update(sum, castagnoli, b[12:n])
	if sum != binary.LittleEndian.Uint32(b[8:]) {
		return h, nil, errDamaged
	}
	h = head{
		codec:   b[5],
		sum:     binary.LittleEndian.Uint32(b[12:]),
		stored:  int64(binary.LittleEndian.Uint64(b[48:])),
		took:    time.Duration(binary.LittleEndian.Uint64(b[56:])),
		size:    int64(binary.LittleEndian.Uint64(b[64:])),
		payload: int64(binary.LittleEndian.Uint64(b[72:])),
	}
	copy(h.key.Sum[:], b[16:])
	h.key.Group = string(b[headSize:n])
	if h.size < 0 || h.payload < 0 || h.codec > s2Value || h.codec == plainValue && h.size != h.payload {
		return h, nil, errDamaged
	}
	return h, b[n:], nil
}

var zeros [4]byte

// unseal reads the record of k, which keeps b. Whatever b holds, the record is whole or the error is errDamaged.
func unseal(b []byte, k Key) (Record, error) {
	h, payload, err := readHead(b)
	if err != nil {
		return Record{}, err
	}
	if h.key != k || int64(len(payload)) != h.payload || crc32.Checksum(payload, castagnoli) != h.sum {
		return Record{}, errDamaged
	}
	value := payload[:len(payload):len(payload)]
	if h.codec == s2Value {
		n, err := s2.DecodedLen(payload)
		if err != nil || int64(n) != h.size || n > maxPacked {
			return Record{}, errDamaged
		}
		if value, err = s2.Decode(nil, payload); err != nil {
			return Record{}, errDamaged
		}
	}
	return Record{Value: value, Stored: time.Unix(0, h.stored), Took: h.took}, nil
}
