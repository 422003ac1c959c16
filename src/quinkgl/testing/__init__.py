"""What tests of applications and of the stack itself stand on."""
