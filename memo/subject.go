package memo

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/cache"
	"github.com/gojoblib/parallel/internal/build"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/wire"
)

// subject is a function whose results are kept.
type subject struct {
	name string
	settings
	group    string // of its keys
	keys     *signature
	out      reflect.Type // of its value; nil: it has none
	variadic reflect.Type // of its last parameter, if it takes any number of arguments
	err      error        // why it cannot be one
	told     atomic.Bool  // it was looked whether other builds have left values of it
}

// settings are what Options say of a function.
type settings struct {
	version  string
	ignore   []int
	maxAge   time.Duration
	validate func(Entry) bool
	share    bool
}

// Option is a setting of one function.
type Option func(*settings)

// Version takes the place of the program's build in the keys: values are found again after a rebuild, as long as v is the
// same. Whoever gives it promises to change it whenever the function, or anything that it uses, computes something else, or a
// type changes that an interface in its result holds. It does nothing for functions of a main package without a path, one
// made of files (go run main.go): those of all such programs have the same names.
func Version(v string) Option { return func(s *settings) { s.version = v } }

// Ignore leaves arguments out of the keys, counted from 0 without a leading context: those that do not change the result,
// such as a logger.
func Ignore(args ...int) Option {
	return func(s *settings) { s.ignore = append(s.ignore, args...) }
}

// MaxAge makes values older than d be computed again. It goes with Options.MaxAge: the shorter one counts.
func MaxAge(d time.Duration) Option { return func(s *settings) { s.maxAge = d } }

// Validate makes values be computed again of which f says false. It is asked at every hit, by several goroutines at once; one
// that panics has said false, and that is said once.
func Validate(f func(Entry) bool) Option { return func(s *settings) { s.validate = f } }

// Share hands the same value out for hits in RAM, not copies: callers promise not to write to it.
func Share() Option { return func(s *settings) { s.share = true } }

// Entry is a value that is kept, without the value.
type Entry struct {
	Func   string        // the function's full name
	Stored time.Time     // when
	Took   time.Duration // what computing it took
	Size   int64         // bytes, encoded
}

// Declare sets how calls of fn that are made through runs are kept, for all that begin later. It is an error for a function
// whose calls cannot be.
func (m *Memory) Declare(fn any, opts ...Option) error {
	v := reflect.ValueOf(fn)
	s := newSubject(fn, opts)
	if s.err == nil {
		m.subjects.Store(v.Pointer(), s)
	}
	return s.err
}

// subject returns what is known of fn.
func (m *Memory) subject(fn any) *subject {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func || v.IsNil() {
		return &subject{err: fmt.Errorf("%T is no function whose results could be kept", fn)}
	}
	if s, ok := m.subjects.Load(v.Pointer()); ok {
		return s.(*subject)
	}
	s, _ := m.subjects.LoadOrStore(v.Pointer(), newSubject(fn, nil))
	return s.(*subject)
}

// program is the path of the program's main package, as its functions are called main.X in every program; "": it has none,
// being made of files that were named on the command line.
var program = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Path != "command-line-arguments" {
		return info.Path
	}
	return ""
})

// thisBuild stands for the program as it is; where its executable cannot be read, for this process.
var thisBuild = sync.OnceValue(func() string {
	id := build.ID()
	if strings.HasPrefix(id, "unknown") {
		id += " " + rand.Text()
	}
	return "build " + id
})

func newSubject(fn any, opts []Option) *subject {
	s := &subject{}
	for _, o := range opts {
		if o == nil {
			s.err = errors.New("memo: a nil Option is given")
			return s
		}
		o(&s.settings)
	}
	if s.maxAge < 0 {
		s.err = fmt.Errorf("memo: MaxAge(%v): it must not be negative", s.maxAge)
		return s
	}
	if s.name, s.err = registry.Symbol(fn); s.err != nil {
		s.err = fmt.Errorf("memo: its results cannot be kept: %w", s.err)
		return s
	}
	t := reflect.TypeOf(fn)
	first := 0
	if wire.TakesContext(t) {
		first = 1
	}
	var args []reflect.Type
	for i := first; i < t.NumIn(); i++ {
		args = append(args, t.In(i))
	}
	for _, i := range s.ignore {
		if i < 0 || i >= len(args) {
			s.err = fmt.Errorf("Ignore(%d): %s has %d arguments", i, s.name, len(args))
			return s
		}
		args[i] = nil
	}
	if t.IsVariadic() {
		s.variadic = t.In(t.NumIn() - 1)
	}
	n := t.NumOut()
	if n > 0 && t.Out(n-1) == reflect.TypeFor[error]() {
		n--
	}
	if n > 0 {
		s.out = t.Out(0)
		if err := wire.Check(s.out); err != nil {
			s.err = fmt.Errorf("results of %s cannot be kept: %w", s.name, err)
			return s
		}
	}
	name := s.name
	isMain := strings.HasPrefix(name, "main.")
	if isMain {
		name = program() + " " + name
	}
	version := "version " + s.version
	if s.version == "" || isMain && program() == "" {
		version = thisBuild()
	}
	s.group = name + "\n" + version
	out := ""
	if s.out != nil {
		out = madeOf(s.out)
	}
	if s.keys, s.err = newSignature(args, name, version, out); s.err != nil {
		s.err = fmt.Errorf("calls of %s have no keys: %w", s.name, s.err)
	}
	return s
}

// madeOf returns what tells a type from all others, those of the same name in other builds, too.
func madeOf(t reflect.Type) string {
	h := newHasher()
	defer h.free()
	describe(h, t, map[reflect.Type]int{})
	return h.sum().String()
}

// key returns the key of a call.
func (s *subject) key(args []any) (cache.Key, error) {
	if s.err != nil {
		return cache.Key{}, s.err
	}
	if s.variadic != nil { // the last arguments are one: the slice of them
		fixed := len(s.keys.args) - 1
		rest := reflect.MakeSlice(s.variadic, 0, len(args)-fixed)
		for _, a := range args[fixed:] {
			v := reflect.New(s.variadic.Elem()).Elem()
			if a != nil {
				v.Set(reflect.ValueOf(a))
			}
			rest = reflect.Append(rest, v)
		}
		args = append(slices.Clone(args[:fixed]), rest.Interface())
	}
	d, err := s.keys.key(args)
	return cache.Key{Group: s.group, Sum: d}, err
}

// tellRebuilt says once that values of other builds are out of reach.
func (m *Memory) tellRebuilt(s *subject) {
	if m.disk == nil || s.version != "" || s.told.Swap(true) {
		return
	}
	m.background(func() {
		name, _, _ := strings.Cut(s.group, "\n")
		if n := m.others()[name]; n > 0 {
			m.rebuilt.Do(func() {
				slog.Info("parallel: the program was rebuilt, or is another one, so that values which other builds have computed are not used; memo.Version says that they may be",
					"function", filepath.Base(s.name), "values", n, "dir", m.o.Dir)
			})
		}
	})
}

// ofOtherBuilds counts, by function, the values in Dir whose keys hold another build than this one.
func (m *Memory) ofOtherBuilds() map[string]int {
	items := map[string]int{}
	groups, err := m.disk.Groups()
	if err != nil {
		return items // it will be said of the calls
	}
	for _, g := range groups {
		if name, version, _ := strings.Cut(g.Name, "\n"); strings.HasPrefix(version, "build ") && version != thisBuild() {
			items[name] += g.Items
		}
	}
	return items
}

// contain calls a user's function on a goroutine of its own: neither a panic nor a Goexit of it gets further.
func contain(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("it called runtime.Goexit")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("it panicked: %v", p)
			}
			done <- err
		}()
		err = f()
	}()
	return <-done
}
