package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

//go:embed peers.py
var peersPy []byte

// requirements are what pip installs. numpy is for the rows with arrays.
var requirements = []string{"joblib==1.6.0", "numpy==2.4.6"}

// python is an interpreter with peers.py, and what else it has.
type python struct {
	path   string
	script string // where peers.py is
	extras bool   // requirements are there
}

// findPython returns the interpreter to use, and what has to be said about it. peers.py goes into dir.
func findPython(ctx context.Context, dir string) (*python, []string) {
	path, err := exec.LookPath("python3")
	if err != nil {
		return nil, []string{fmt.Sprintf("There is no python3 here (%v): its columns are left out.", err)}
	}
	p := &python{path: path, script: filepath.Join(dir, "peers.py")}
	if err := os.WriteFile(p.script, peersPy, 0o600); err != nil {
		return nil, []string{fmt.Sprintf("The Python columns are left out: %v.", err)}
	}
	venv, err := environment(ctx, path)
	if err != nil {
		return p, []string{fmt.Sprintf("pip could not install %s: joblib's column and Python's rows with arrays are left out (%v).", strings.Join(requirements, " and "), err)}
	}
	p.path, p.extras = venv, true
	return p, nil
}

// environment returns the interpreter of a virtual environment with the requirements. It is made once for each
// interpreter and each set of requirements, and stays in the user's cache directory.
func environment(ctx context.Context, python string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	version, err := output(ctx, python, "-VV")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(python + version + strings.Join(requirements, " ")))
	dir := filepath.Join(cache, "gojoblib-parallel-bench", fmt.Sprintf("venv-%x", sum[:6]))
	inside := filepath.Join(dir, "bin", "python")
	if runtime.GOOS == "windows" {
		inside = filepath.Join(dir, "Scripts", "python.exe")
	}
	complete := filepath.Join(dir, "complete") // written last
	if _, err := os.Stat(complete); err == nil {
		return inside, nil
	}
	log.Printf("installing %s into %s", strings.Join(requirements, " and "), dir)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if _, err := output(ctx, python, "-m", "venv", dir); err != nil {
		return "", err
	}
	pip := []string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--no-input"}
	if _, err := output(ctx, inside, append(pip, requirements...)...); err != nil {
		return "", err
	}
	return inside, os.WriteFile(complete, nil, 0o600)
}

// output returns what a command prints; when it fails, the last line of that is in the error.
func output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, lines[len(lines)-1])
	}
	return string(out), nil
}

// versions tells what p is, for the notes.
func (p *python) versions(ctx context.Context) (string, error) {
	out, err := output(ctx, p.path, p.script, "versions")
	return strings.TrimSpace(out), err
}

// contenders are those that p can run, as in the table of peers.py.
func (p *python) contenders() []contender {
	arrays := []kind{kindSum, kindAgain, kindDouble}
	cs := []contender{
		{name: "mp.Pool", open: p.open("pool")},
		{name: "mp.Pool, chunksize=1", open: p.open("pool-1"), skips: append([]kind{kindCold, kindCall}, arrays...), most: 100_000},
		{name: "executor", open: p.open("executor"), most: 10_000},
		{name: "executor, chunksize=1000", open: p.open("executor-1000"), skips: append([]kind{kindDynamic, kindCold, kindCall}, arrays...)},
	}
	if p.extras {
		return append(cs, contender{name: "joblib loky", open: p.open("loky")})
	}
	for i := range cs {
		cs[i].skips = append(cs[i].skips, arrays...)
	}
	return cs
}

// open starts peers.py as one contender: a process of its own, so that none forks with the memory of another.
func (p *python) open(name string) func() (session, error) {
	return func() (session, error) {
		s := &pythonSession{cmd: exec.Command(p.path, p.script, name)}
		s.cmd.Stderr = &s.stderr
		stdin, err := s.cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		stdout, err := s.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		s.stdin, s.answers = stdin, json.NewDecoder(stdout)
		s.cmd.WaitDelay = patience // its workers have its stderr
		return s, s.cmd.Start()
	}
}

// pythonSession is peers.py: it reads jobs from stdin, a line each, and answers each with a line, until stdin ends.
type pythonSession struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers *json.Decoder
	stderr  bytes.Buffer
}

func (s *pythonSession) run(j job) (time.Duration, error) {
	if err := json.NewEncoder(s.stdin).Encode(j); err != nil {
		return 0, err
	}
	var answer struct {
		Seconds float64
		Error   string
	}
	if err := s.answers.Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Error != "" {
		return 0, errors.New(answer.Error)
	}
	return time.Duration(answer.Seconds * float64(time.Second)), nil
}

func (s *pythonSession) close() error {
	_ = s.stdin.Close() // an error means that it is gone, which wait tells better
	if err := wait(s.cmd); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(s.stderr.String()))
	}
	return nil
}
