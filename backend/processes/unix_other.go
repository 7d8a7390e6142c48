//go:build unix && !linux

package processes

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gojoblib/parallel/internal/board"
)

// anonymous returns memory in a file that has no name.
func anonymous() (*os.File, error) {
	f, err := os.CreateTemp("", "parallel-board-")
	if err != nil {
		return nil, err
	}
	if err = os.Remove(f.Name()); err == nil {
		err = f.Truncate(board.Size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// awaitExit leaves it to os.Process.Wait.
func (w *process) awaitExit() {
	w.state, _ = w.proc.Wait()
}

// askEvery is how often ps is asked at most: it takes some milliseconds.
const askEvery = 100 * time.Millisecond

// sizes is what ps has said last about all processes, in kB by number.
var sizes struct {
	sync.Mutex
	at time.Time
	of map[int]int64
}

// resident is how much memory the worker has in use, in bytes, what it shares with others included, as ps says it.
func (w *process) resident() int64 {
	sizes.Lock()
	defer sizes.Unlock()
	if _, known := sizes.of[w.proc.Pid]; !known || time.Since(sizes.at) > askEvery {
		sizes.of = map[int]int64{}
		out, _ := exec.Command("/bin/ps", "-ax", "-o", "pid=", "-o", "rss=").Output()
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) == 2 {
				pid, _ := strconv.Atoi(f[0])
				sizes.of[pid], _ = strconv.ParseInt(f[1], 10, 64)
			}
		}
		sizes.at = time.Now()
	}
	return sizes.of[w.proc.Pid] << 10
}
