//go:build !fault_ack_before_journal

package journal

// durable writes records and then shows them to Take and Get.
func (j *Journal) durable(to position, records []byte, show func() error) error {
	if err := j.segments.write(to, records); err != nil {
		return err
	}
	return show()
}
