package cache

import "time"

var start = time.Now()

// sinceStart is a clock that costs half of what time.Now does.
func sinceStart() int64 { return int64(time.Since(start)) }

// now is the present as records keep it.
func now() time.Time { return time.Now().Round(0) }
