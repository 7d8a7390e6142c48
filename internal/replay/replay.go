// Package replay keeps a call that has failed in a file, a capsule, and makes it again: in the program itself, with
// nothing around it, so that a debugger sees what happened.
package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/gojoblib/parallel/internal/build"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/scope"
	"github.com/gojoblib/parallel/internal/wire"
)

// Env is the variable that names the capsule to replay.
const Env = "PARALLEL_REPLAY"

// magic is a capsule's first line, for people and for other versions.
const magic = "parallel capsule 1, replayed by " + Env + "=file program\n"

// capsule is what a file holds after its first line.
type capsule struct {
	Build   string
	Failure string // what went wrong
	Batch   []byte // of the one call
}

// Write writes the one call in batch, which has failed, to a new file in dir, and returns its path. It makes dir.
func Write(dir, name string, failure error, batch *wire.Batch) (path string, err error) {
	c := capsule{build.ID(), failure.Error(), batch.Body}
	body, err := wire.Append([]byte(magic), &c)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, short(name)+"-*.capsule") // arguments may be secret: it is readable by the user alone
	if err != nil {
		return "", err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// short makes a file's name of a call's.
func short(name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`\/:*?"<>| `, r) || r < ' ' {
			return '_'
		}
		return r
	}, name)
	return strings.ToValidUTF8(name[:min(len(name), 60)], "")
}

// Run makes the call in the capsule at path, on this goroutine. What befalls it befalls the program.
func Run(path string, out io.Writer) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	body, ok := strings.CutPrefix(string(b), magic)
	if !ok {
		return fmt.Errorf("%s is no capsule of this version", path)
	}
	var c capsule
	rest, err := wire.Read([]byte(body), &c)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	if err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	if c.Build != build.ID() {
		return fmt.Errorf("%s was written by another build of the program, whose values may lie otherwise; replay it with that one", path)
	}
	calls, err := wire.ReadBatch(c.Batch, nil)
	if err != nil {
		return err
	}
	call, args, err := calls.Next()
	if err != nil {
		return err
	}
	fn, ok := registry.Func(call.Func)
	if !ok {
		return fmt.Errorf("%s is not registered; give it to parallel.Main or parallel.Register", call.Func)
	}
	in, err := args.Values(nil, fn.Type())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "replaying task %d (%s), attempt %d, which failed: %s\n", call.Index, call.Func, calls.Attempt, c.Failure)
	s := &scope.Scope{Context: context.Background(), Index: call.Index, Attempt: calls.Attempt, Seed: calls.Seed, Names: name(cmp.Or(call.Name, call.Func)), Locals: new(scope.Locals)}
	if wire.TakesContext(fn.Type()) {
		var ctx context.Context = s
		in = append([]reflect.Value{reflect.ValueOf(&ctx).Elem()}, in...)
	}
	outs := fn.Call(in)
	if n := len(outs); n > 0 && outs[n-1].Type() == reflect.TypeFor[error]() {
		err, _ = outs[n-1].Interface().(error)
		outs = outs[:n-1]
	}
	for s.Locals.CloseLast(func(e error) { err = errors.Join(err, e) }) {
	}
	if err == nil && len(outs) > 0 {
		fmt.Fprintf(out, "it returned %+v\n", outs[0])
	}
	return err
}

// name is what TaskFrom calls the call.
type name string

func (n name) Name(int) string { return string(n) }
