package python

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// patience is how long a process may take to end.
const patience = 10 * time.Second

// Session is the script under way: it reads jobs from stdin, a line each, and answers each with a line, until stdin ends.
type Session struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers *json.Decoder
	stderr  bytes.Buffer
}

// Start starts the script with args.
func (p *Python) Start(ctx context.Context, args ...string) (*Session, error) {
	s := &Session{cmd: exec.CommandContext(ctx, p.Path, append([]string{p.Script}, args...)...)}
	s.cmd.Stderr = &s.stderr
	s.cmd.WaitDelay = patience // what it has started has its stderr
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

// Do hands a job over and waits for the answer.
func (s *Session) Do(job, answer any) error {
	if err := json.NewEncoder(s.stdin).Encode(job); err != nil {
		return err
	}
	return s.answers.Decode(answer)
}

// Close ends the script.
func (s *Session) Close() error {
	_ = s.stdin.Close() // an error means that it is gone, which Wait tells better
	late := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(s.stderr.String()))
	}
	return nil
}
