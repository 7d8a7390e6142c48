package memo

import "reflect"

// maxPath bounds the text of a path; what is further inside is left out.
const maxPath = 200

// pathError is an error and where in the value it was met: "Job.Parts[3].Done".
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return e.path + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// within says that err, unless it is nil, was met one step inside a value. Plans keep such errors: it changes none.
func within(step string, err error) error {
	if err == nil {
		return nil
	}
	inner, ok := err.(*pathError) //nolint:errorlint // what a step was added to is the error itself
	if !ok {
		inner = &pathError{"", err}
	}
	path := step + inner.path
	if len(path) > maxPath {
		path = path[:maxPath/2] + "…"
	}
	return &pathError{path, inner.err}
}

// labeled starts the path with the type it leads into; an error about that type itself names it anyway.
func labeled(t reflect.Type, err error) error {
	if e, ok := err.(*pathError); ok { //nolint:errorlint // see within
		for t.Kind() == reflect.Pointer && t.Name() == "" {
			t = t.Elem()
		}
		if t.Name() == "" {
			return within(t.String(), e)
		}
		return within(t.Name(), e)
	}
	return err
}
