package cache

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"time"
)

// ledger is what the processes that use a folder know of it together: a small file, read and written under its lock.
// A record comes into the folder, by a rename, under that lock and after it was counted: so the ledger never says less
// than the folder holds, whoever is killed when. It may say more; whoever looks the folder through puts that right.
type ledger struct{ shared }

// account is the ledger's contents.
type account struct {
	used   int64         // bytes, as Group counts them; as long as known is false, only those put meanwhile
	grain  time.Duration // how fine the times of use should be, so that those removed are the ones used least recently; 0: not known
	looked int64         // when the folder was last looked through, nanoseconds since 1970
	known  bool          // false: nobody has counted yet
}

const accountSize = 4 + 3*8 + 1

// enter returns the account and keeps others away from it until unlock, which must follow if there is no error.
func (l *ledger) enter() (a account, err error) {
	f, err := l.lock(patience)
	if err != nil {
		return a, err
	}
	var b [accountSize]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		l.unlock()
		return a, err
	}
	return readAccount(b[:n]), nil
}

// write changes the account, between enter and unlock.
func (l *ledger) write(a account) error {
	b := make([]byte, 4, accountSize)
	b = binary.LittleEndian.AppendUint64(b, uint64(a.used))
	b = binary.LittleEndian.AppendUint64(b, uint64(a.grain))
	b = binary.LittleEndian.AppendUint64(b, uint64(a.looked))
	if a.known {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	_, err := l.f.WriteAt(b, 0)
	return err
}

// look reads the account without waiting for anybody.
func (l *ledger) look() account {
	var b [accountSize]byte
	n, _ := l.peek(b[:])
	return readAccount(b[:n])
}

func readAccount(b []byte) (a account) {
	if len(b) < accountSize || binary.LittleEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) {
		return a
	}
	return account{
		used:   int64(binary.LittleEndian.Uint64(b[4:])),
		grain:  time.Duration(binary.LittleEndian.Uint64(b[12:])),
		looked: int64(binary.LittleEndian.Uint64(b[20:])),
		known:  b[28] == 1,
	}
}
