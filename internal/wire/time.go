package wire

import (
	"encoding/binary"
	"sync"
	"time"
)

// instant is the codec of time.Time: seconds, nanoseconds, zone. A zone other than UTC and Local is written as its
// location's name, abbreviation and offset: the last two are what is kept in any case.
type instant struct{}

const (
	zoneUTC = iota
	zoneLocal
	zoneNamed
	zoneMax = zoneNamed
)

func (instant) encode(e *encoder, p addr) error {
	t := *as[time.Time](p)
	e.b = binary.LittleEndian.AppendUint64(e.b, uint64(t.Unix()))
	e.b = binary.LittleEndian.AppendUint32(e.b, uint32(t.Nanosecond()))
	switch loc := t.Location(); loc {
	case time.UTC:
		e.byte(zoneUTC)
	case time.Local:
		e.byte(zoneLocal)
	default:
		abbreviation, seconds := t.Zone()
		e.byte(zoneNamed)
		e.string(loc.String())
		e.string(abbreviation)
		e.b = binary.LittleEndian.AppendUint32(e.b, uint32(int32(seconds)))
	}
	return nil
}

func (instant) decode(d *decoder, p addr) error {
	b, err := d.take(12)
	if err != nil {
		return err
	}
	sec, nsec := int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint32(b[8:])
	if nsec >= 1e9 {
		return damaged("%d nanoseconds", nsec)
	}
	t := time.Unix(sec, int64(nsec))
	tag, err := d.tag(zoneMax)
	if err != nil {
		return err
	}
	switch tag {
	case zoneUTC:
		t = t.UTC()
	case zoneNamed:
		if t, err = d.inZone(t); err != nil {
			return err
		}
	}
	*as[time.Time](p) = t
	return nil
}

// inZone reads a zone and returns t in it.
func (d *decoder) inZone(t time.Time) (time.Time, error) {
	start := d.b
	name, err := d.string()
	if err != nil {
		return t, err
	}
	abbreviation, err := d.string()
	if err != nil {
		return t, err
	}
	b, err := d.take(4)
	if err != nil {
		return t, err
	}
	seconds := int(int32(binary.LittleEndian.Uint32(b)))
	if key := start[:len(start)-len(d.b)]; string(key) != d.zone.key {
		d.zone = zone{key: string(key), fixed: time.FixedZone(abbreviation, seconds)}
		if name != abbreviation {
			d.zone.named = location(name)
		}
	}
	if d.zone.named != nil {
		there := t.In(d.zone.named)
		if a, s := there.Zone(); a == abbreviation && s == seconds {
			return there, nil
		}
	}
	return t.In(d.zone.fixed), nil
}

// zone is what a written zone, the key, stands for. The location of that name keeps daylight saving time, and is used
// where it agrees with the key; there is none where the name is the abbreviation, as time.FixedZone has it.
type zone struct {
	key          string
	named, fixed *time.Location
}

// locations holds what was loaded: reading a time zone takes tens of microseconds.
var locations sync.Map

func location(name string) *time.Location {
	if loc, ok := locations.Load(name); ok {
		return loc.(*time.Location)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil
	}
	locations.Store(name, loc)
	return loc
}
