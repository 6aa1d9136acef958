"""What happens to a job: upload, submit, check, deliver."""
