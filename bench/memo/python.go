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

// requirements are what pip installs: those of the command processes, whose environment it shares. numpy is for the hash
// of an array.
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
		return p, []string{fmt.Sprintf("pip could not install %s: joblib's column is left out (%v).", strings.Join(requirements, " and "), err)}
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
	cs := []contender{{name: "lru_cache", open: p.open("lru_cache"), skips: append([]kind{kindMap, kindRun, kindDisk}, hashes...)}}
	if p.extras {
		cs = append(cs, contender{name: "joblib", open: p.open("joblib"), skips: []kind{kindShare, kindMap}, most: 1000})
	}
	return cs
}

// patience is how long a process may take to end.
const patience = 10 * time.Second

// open starts peers.py as one contender.
func (p *python) open(name string) func(context.Context, string) (session, error) {
	return func(ctx context.Context, dir string) (session, error) {
		s := &pythonSession{cmd: exec.CommandContext(ctx, p.path, p.script, name, dir)}
		s.cmd.Stderr = &s.stderr
		s.cmd.WaitDelay = patience
		stdin, err := s.cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		stdout, err := s.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		s.stdin, s.answers = stdin, json.NewDecoder(stdout)
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

func (s *pythonSession) run(j job) (sample, error) {
	if err := json.NewEncoder(s.stdin).Encode(j); err != nil {
		return sample{}, err
	}
	var answer struct {
		Seconds float64
		Made    int
		Error   string
	}
	if err := s.answers.Decode(&answer); err != nil {
		return sample{}, err
	}
	if answer.Error != "" {
		return sample{}, errors.New(answer.Error)
	}
	return sample{time.Duration(answer.Seconds * float64(time.Second)), answer.Made}, nil
}

func (s *pythonSession) close() error {
	_ = s.stdin.Close() // an error means that it is gone, which Wait tells better
	late := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(s.stderr.String()))
	}
	return nil
}
