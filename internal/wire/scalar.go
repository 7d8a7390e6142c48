package wire

// plain is the codec of types whose memory is their encoding.
type plain struct{ size uintptr }

func (c plain) encode(e *encoder, p addr) error {
	e.b = append(e.b, memory(p, c.size)...)
	return nil
}

func (c plain) decode(d *decoder, p addr) error {
	b, err := d.take(int(c.size))
	copy(memory(p, c.size), b)
	return err
}

// boolean is not plain: a bool other than 0 and 1 misleads the compiler's code.
type boolean struct{}

func (boolean) encode(e *encoder, p addr) error {
	e.b = append(e.b, *as[byte](p))
	return nil
}

func (boolean) decode(d *decoder, p addr) error {
	c, err := d.tag(1)
	*as[bool](p) = c == 1
	return err
}

type text struct{}

func (text) encode(e *encoder, p addr) error {
	e.string(*as[string](p))
	return nil
}

func (text) decode(d *decoder, p addr) (err error) {
	*as[string](p), err = d.string()
	return err
}
